//! A `garim serve` of its own for one test: on a free port, in a folder of the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use super::{GARIM, Scratch, tool};

/// No step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The running server; killed when dropped.
pub struct Server {
    child: Child,
    /// Lines of stderr as they come.
    lines: Mutex<Receiver<String>>,
    log: String,
    pub address: SocketAddr,
    /// The first admin key, if the server printed one.
    pub admin: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    scheme: &'static str,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// As `HTTP/1.1`.
    pub version: String,
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// It is a problem with this status and code.
    pub fn problem(self, status: u16, code: &str) -> Self {
        let body = self.json();
        assert_eq!((&body["code"], self.status), (&code.into(), status), "{self:#?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:#?}");
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:garim:problem:{code}"));
        assert!(!body["title"].as_str().unwrap().is_empty() && body["detail"].is_string());
        self
    }
}

/// A request that is being made.
pub struct Ask<'a> {
    server: &'a Server,
    request: reqwest::RequestBuilder,
}

impl Ask<'_> {
    pub fn key(mut self, key: &str) -> Self {
        self.request = self.request.header("Authorization", format!("Bearer {key}"));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    pub fn send(self) -> Answer {
        self.try_send().unwrap()
    }

    pub fn try_send(self) -> reqwest::Result<Answer> {
        self.server.runtime.block_on(async {
            let response = self.request.send().await?;
            let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
            let headers = response.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
            let status = response.status().as_u16();
            let version = format!("{:?}", response.version());
            Ok(Answer { version, status, headers, body: response.text().await? })
        })
    }
}

impl Server {
    /// With a database of its own, and `settings` in TOML.
    pub fn start(s: &Scratch, settings: &str) -> Self {
        Self::start_with(s, settings, &[], |client| client)
    }

    /// `secrets` are variables of its environment; `client` may change the client.
    pub fn start_with(
        s: &Scratch,
        settings: &str,
        secrets: &[(&str, &str)],
        client: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        s.write("garim.toml", settings);
        let mut command = command(s);
        command.envs(secrets.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().timeout(PATIENCE);
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let mut server = Self {
            child,
            lines: Mutex::new(lines),
            log: String::new(),
            address: ([127, 0, 0, 1], 0).into(),
            admin: String::new(),
            runtime: { runtime }.worker_threads(1).enable_all().build().unwrap(),
            client: client(builder).build().unwrap(),
            scheme: "http",
        };
        let line = server.wait_for("listening on http");
        let (_, url) = line.split_once("listening on ").unwrap();
        // In JSON more follows.
        let url = url.split('"').next().unwrap().trim();
        let url: reqwest::Url = url.parse().unwrap();
        server.scheme = if url.scheme() == "https" { "https" } else { "http" };
        server.address = *url.socket_addrs(|| None).unwrap().first().unwrap();
        if server.log.contains("first admin key") {
            // It is flushed before this line of the log.
            let mut stdout = BufReader::new(server.child.stdout.take().unwrap());
            stdout.read_line(&mut server.admin).unwrap();
            server.admin = server.admin.trim().to_owned();
            server.child.stdout = Some(stdout.into_inner());
        }
        server
    }

    /// Why it did not start.
    pub fn refusal(s: &Scratch, settings: &str) -> String {
        s.write("garim.toml", settings);
        super::Ran::new(&command(s).output().unwrap()).error()
    }

    /// Reads the log up to a line with `words`.
    pub fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.get_mut().unwrap().recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("no {words:?} ({e}) in: {}", self.log));
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let url = format!("{}://{}{path}", self.scheme, self.address);
        Ask { server: self, request: self.client.request(method.parse().unwrap(), url) }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).key(&self.admin).send()
    }

    /// A new key of `user` with these scopes.
    pub fn new_key(&self, user: &str, scopes: &[&str]) -> (String, String) {
        let body = serde_json::json!({"user": user, "scopes": scopes});
        let made = self.ask("POST", "/v1/keys").key(&self.admin).json(&body).send().is(201).json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    /// Sends the headers of a POST with a key, and waits until the server wants the body.
    pub fn start_post(&self, key: &str, path: &str, framing: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: garim\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut wanted = [0; 25];
        stream.read_exact(&mut wanted).unwrap();
        assert_eq!(&wanted, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for the end; gives the exit code, what was left on stdout, and the whole log.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        while let Ok(line) = self.lines.get_mut().unwrap().recv_timeout(PATIENCE) {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        let mut rest = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, rest, std::mem::take(&mut self.log))
    }

    pub fn stop(self) -> (Option<i32>, String, String) {
        self.signal("TERM");
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(process: u32, name: &str) {
    let id = process.to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

/// Makes a certificate for this machine, as `cert.pem` and `key.pem`; gives it as a client takes it.
pub fn certificate(s: &Scratch) -> reqwest::Certificate {
    tool(s.command(
        "openssl",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
         -keyout key.pem -out cert.pem",
    ));
    reqwest::Certificate::from_pem(&s.read("cert.pem")).unwrap()
}

fn command(s: &Scratch) -> Command {
    let args = "serve --config garim.toml --data data";
    let mut command = s.command(GARIM, args);
    let settings = std::fs::read_to_string(s.path("garim.toml")).unwrap();
    // Not that of a section.
    let mut own = settings.lines().take_while(|line| !line.starts_with('['));
    if !own.any(|line| line.starts_with("listen")) {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    for name in ["GARIM_CONFIG", "GARIM_DATABASE_URL"] {
        command.env_remove(name);
    }
    command
}

/// The rest of what is sent over a connection that the server closes.
pub fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
