//! What `garim serve` and `garim worker` are told: one TOML file, the environment for secrets.
//!
//! A file is read into [`toml::Table`], and every value is taken out of it, checked, and given its default
//! ([`Section`]). So one start names everything that is wrong, and what nobody takes out is an unknown key.

mod section;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::SignedDuration;
use store::Original;
use tracing_subscriber::filter::Targets;
use url::Url;
use zeroize::Zeroizing;

pub use section::Section;

/// Largest file of settings, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Everything, checked.
#[derive(Debug)]
pub struct Config {
    /// Where the server listens; port 0 for any free one.
    pub listen: SocketAddr,
    /// Folder of the database, the server's key, and of objects that are not in S3.
    pub data: PathBuf,
    /// How clients reach the server, for URLs that it gives out.
    pub public_url: Option<Url>,
    /// Certificate and key; without them plain HTTP is spoken.
    pub tls: Option<Tls>,
    pub database: Database,
    pub objects: Objects,
    pub limits: Limits,
    /// Origins whose pages may call the API; none by default.
    pub cors_origins: Vec<String>,
    pub log: Log,
    pub jobs: Jobs,
    /// Prefix of the store whose new objects are processed by themselves.
    pub watch: Option<String>,
    pub retention: Retention,
    pub live: Live,
}

/// PEM files.
#[derive(Debug)]
pub struct Tls {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Where rows are.
#[derive(Debug)]
pub enum Database {
    /// `garim.db` in the data folder.
    Sqlite,
    Postgres(DatabaseUrl),
}

/// Holds a password: cannot be printed.
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// The URL. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

/// Where originals and results are.
#[derive(Debug)]
pub enum Objects {
    Folder(PathBuf),
    /// Keys come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    S3 {
        bucket: String,
        region: String,
        /// Of servers other than Amazon's.
        endpoint: Option<Url>,
    },
}

/// How much one key may ask for.
#[derive(Debug)]
pub struct Limits {
    pub requests_per_second: u32,
    /// Requests at once after a rest.
    pub burst: u32,
    /// Requests that are being answered, per key.
    pub concurrent: u32,
    /// Attempts without a valid key, per minute and address.
    pub strangers_per_minute: u32,
    /// Largest body of a request that is not an upload.
    pub body_bytes: usize,
    /// For a whole request that is neither an upload nor a stream.
    pub timeout: Duration,
    /// For requests that are being answered when the server is told to stop.
    pub shutdown: Duration,
}

#[derive(Debug)]
pub struct Log {
    pub json: bool,
    /// What is logged, in the form of `RUST_LOG`: levels, of all or of a module: `garim=debug,info`.
    pub filter: Targets,
}

#[derive(Debug)]
pub struct Jobs {
    /// Jobs at once in this process; 0 where `garim worker` does them elsewhere.
    pub workers: u32,
    /// After this long without a sign of life, a job is given to another worker.
    pub lease: Duration,
    /// Times a job is tried.
    pub attempts: u32,
    /// Videos at least twice as long are split into parts of about so many seconds, for many workers; 0: never.
    pub part_seconds: u32,
}

#[derive(Debug)]
pub struct Retention {
    /// Days after which videos are deleted; `None` for never. A user's own number comes first.
    pub days: Option<u32>,
    /// How long an original stays after it was covered; `None`: sealed until its video is deleted.
    pub originals: Option<Duration>,
}

impl Retention {
    /// What becomes of an original when nobody says otherwise.
    pub fn original(&self) -> Original {
        match self.originals {
            None => Original::Keep,
            Some(grace) => Original::DeleteAfter(
                SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX),
            ),
        }
    }
}

#[derive(Debug)]
pub struct Live {
    /// Where publishers come to, by RTMP. Neither this nor `tls_listen`: this server runs no channels.
    pub listen: Option<SocketAddr>,
    /// The same by RTMPS, with the certificate of [`Config::tls`].
    pub tls_listen: Option<SocketAddr>,
    /// How publishers reach the servers that run channels, without a slash at the end.
    pub rtmp_url: String,
    /// Where viewers find this server, among several that share a database: `live.server_url`. Others send them on
    /// to it.
    pub server_url: Option<String>,
    /// Channels that there may be, of all users and on all servers.
    pub channels: u32,
    /// Channels that this server runs at once; 0: as many as it is found to be fast enough for when it starts.
    pub slots: u32,
    /// How long a start waits until its channel takes a publisher, and a stop until all is finished.
    pub wait: Duration,
}

/// What the command line said; it comes before the file.
#[derive(Debug, Default)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub data: Option<PathBuf>,
}

impl Config {
    /// Reads the file of the command line or `$GARIM_CONFIG`; without one everything has its default.
    /// `default_data` is the folder for when nothing says another.
    pub fn load(
        overrides: Overrides,
        default_data: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Self> {
        let set = std::env::var_os("GARIM_CONFIG").filter(|value| !value.is_empty());
        let file = overrides.config.clone().or(set.map(PathBuf::from));
        let text = file.as_deref().map(read).transpose()?.unwrap_or_default();
        let name = file.map_or("settings".to_owned(), |file| file.display().to_string());
        let database_url = std::env::var("GARIM_DATABASE_URL").unwrap_or_default();
        Self::parse(&text, overrides, database_url.into(), default_data).with_context(|| name)
    }

    fn parse(
        text: &str,
        overrides: Overrides,
        database_url: Zeroizing<String>,
        default_data: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Self> {
        let mut root = Section::root(text.parse()?);
        let listen = root.parsed("listen", "an address and port, like 127.0.0.1:8080");
        let data = root.path("data");
        let listen =
            overrides.listen.or(listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let data = overrides.data.or(data).map_or_else(default_data, Ok)?;
        let public_url = root.url("public_url");
        let config = Self {
            listen,
            live: live(&mut root, public_url.as_ref(), listen),
            public_url,
            tls: tls(&mut root),
            database: database(&mut root, database_url),
            objects: objects(&mut root, &data),
            limits: limits(&mut root),
            cors_origins: cors(&mut root),
            log: log(&mut root),
            jobs: jobs(&mut root),
            watch: root.section("watch", |s| s.text("prefix")),
            retention: retention(&mut root),
            data,
        };
        let plain = root.flag("allow_plain_http", false);
        if config.tls.is_none() && !config.listen.ip().is_loopback() && !plain {
            root.wrong(format!(
                "listen: {} can be reached from elsewhere, and keys would be sent in the clear: set \
                 tls.certificate and tls.key, or allow_plain_http = true behind a proxy that does TLS",
                config.listen
            ));
        }
        if config.tls.is_none() && config.live.tls_listen.is_some() {
            root.wrong("live.tls_listen: RTMPS needs tls.certificate and tls.key");
        }
        let wrong = root.finish();
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        Ok(config)
    }
}

fn read(file: &Path) -> Result<String> {
    let name = || file.display().to_string();
    if std::fs::metadata(file).with_context(name)?.len() > MAX_FILE {
        bail!("{}: is larger than {} MiB", file.display(), MAX_FILE >> 20);
    }
    std::fs::read_to_string(file).with_context(name)
}

fn tls(root: &mut Section) -> Option<Tls> {
    root.section("tls", |s| match (s.path("certificate"), s.path("key")) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        _ => {
            s.wrong("needs both certificate and key");
            None
        }
    })
}

fn database(root: &mut Section, from_environment: Zeroizing<String>) -> Database {
    let file = root.path("database_file");
    let url = match file {
        None => from_environment,
        Some(_) if !from_environment.is_empty() => {
            root.wrong("database_file: GARIM_DATABASE_URL is set too; keep one of them");
            return Database::Sqlite;
        }
        Some(file) => match read(&file) {
            Ok(text) => Zeroizing::new(text.trim().to_owned()),
            Err(error) => {
                root.wrong(format!("database_file: {error:#}"));
                return Database::Sqlite;
            }
        },
    };
    if root.take("database").is_some() {
        root.wrong(
            "database: may hold a password: put it into GARIM_DATABASE_URL or database_file",
        );
    }
    if url.is_empty() {
        return Database::Sqlite;
    }
    // Whatever is wrong with it, it may be a password: it is not repeated.
    let known = Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    if !known {
        root.wrong("the URL of the database must start with postgres://");
    }
    Database::Postgres(DatabaseUrl(url))
}

fn objects(root: &mut Section, data: &Path) -> Objects {
    root.section("objects", |s| {
        let (folder, bucket) = (s.path("folder"), s.text("bucket"));
        let (region, endpoint) = (s.text("region"), s.url("endpoint"));
        match (folder, bucket) {
            (Some(_), Some(_)) => {
                s.wrong("has both folder and bucket; keep one of them");
                None
            }
            (None, Some(bucket)) => {
                let region = region.unwrap_or_else(|| "us-east-1".to_owned());
                Some(Objects::S3 { bucket, region, endpoint })
            }
            (folder, None) => {
                if region.is_some() || endpoint.is_some() {
                    s.wrong("has a region or endpoint, but no bucket");
                }
                folder.map(Objects::Folder)
            }
        }
    })
    .unwrap_or_else(|| Objects::Folder(data.join("objects")))
}

fn limits(root: &mut Section) -> Limits {
    root.section("limits", |s| Limits {
        requests_per_second: s.number("requests_per_second", 1..=100_000, 50),
        burst: s.number("burst", 1..=100_000, 100),
        concurrent: s.number("concurrent", 1..=10_000, 64),
        strangers_per_minute: s.number("strangers_per_minute", 1..=100_000, 60),
        body_bytes: s.number("body_bytes", 1024..=64 << 20, 1 << 20) as usize,
        timeout: s.seconds("timeout_seconds", 1..=600, 30),
        shutdown: s.seconds("shutdown_seconds", 0..=600, 20),
    })
}

fn cors(root: &mut Section) -> Vec<String> {
    let origins = root.section("cors", |s| s.texts("origins"));
    for origin in &origins {
        let url = Url::parse(origin).ok().filter(Url::has_host);
        if url.is_none_or(|url| url.origin().ascii_serialization() != *origin) {
            root.wrong(format!("cors.origins: {origin:?} is no origin, like https://example.org"));
        }
    }
    origins
}

fn log(root: &mut Section) -> Log {
    root.section("log", |s| {
        let json = s.choice("format", ["human", "json"]) == Some("json");
        let text = s.text("filter").unwrap_or_else(|| "info".to_owned());
        let filter = text.parse().unwrap_or_else(|error| {
            s.wrong(format!("filter: {text:?}: {error}"));
            Targets::new()
        });
        Log { json, filter }
    })
}

fn jobs(root: &mut Section) -> Jobs {
    root.section("jobs", |s| Jobs {
        workers: s.number("workers", 0..=64, 1),
        lease: s.seconds("lease_seconds", 5..=600, 30),
        attempts: s.number("attempts", 1..=20, 3),
        part_seconds: s.number("part_seconds", 0..=3600, 60),
    })
}

fn retention(root: &mut Section) -> Retention {
    root.section("retention", |s| {
        let days = s.number("days", 0..=36_500, 0);
        let hours = s.number("originals_hours", 0..=24 * 3650, 24);
        let sealed = s.choice("originals", ["delete", "seal"]) == Some("seal");
        Retention {
            days: (days > 0).then_some(days),
            originals: (!sealed).then(|| Duration::from_secs(u64::from(hours) * 3600)),
        }
    })
}

fn live(root: &mut Section, public: Option<&Url>, http: SocketAddr) -> Live {
    root.section("live", |s| {
        let listen: Option<SocketAddr> =
            s.parsed("listen", "an address and port, like 0.0.0.0:1935");
        let tls_listen: Option<SocketAddr> =
            s.parsed("tls_listen", "an address and port, like 0.0.0.0:443");
        let told: Option<Url> = s.parsed("rtmp_url", "a URL");
        let plain = |url: &Url| {
            matches!(url.scheme(), "rtmp" | "rtmps")
                && url.has_host()
                && matches!(url.path(), "" | "/")
        };
        if told.as_ref().is_some_and(|url| !plain(url) || url.query().is_some()) {
            s.wrong("rtmp_url: must be rtmp:// or rtmps://, a host, and perhaps a port");
        }
        let rtmp_url = told.map_or_else(
            || {
                // Where nothing else is said: the host that serves HTTP, or else the address itself.
                let (scheme, usual, address) = match (listen, tls_listen) {
                    (None, Some(address)) => ("rtmps", 443, Some(address)),
                    (address, _) => ("rtmp", 1935, address),
                };
                let port = address.map_or(usual, |address| address.port());
                let host = public.and_then(Url::host_str).map(str::to_owned);
                let host = host.unwrap_or_else(|| match address.unwrap_or(http) {
                    SocketAddr::V4(address) => address.ip().to_string(),
                    SocketAddr::V6(address) => format!("[{}]", address.ip()),
                });
                let port = if port == usual { String::new() } else { format!(":{port}") };
                format!("{scheme}://{host}{port}")
            },
            |url| url.as_str().trim_end_matches('/').to_owned(),
        );
        let server_url = s.url("server_url");
        Live {
            listen,
            tls_listen,
            rtmp_url,
            server_url: server_url.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            channels: s.number("channels", 1..=1000, 5),
            slots: s.number("slots", 0..=1000, 0),
            wait: s.seconds("wait_seconds", 1..=25, 10),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        let url = Zeroizing::new(String::new());
        Config::parse(text, Overrides::default(), url, || Ok("/data".into()))
    }

    fn wrong(text: &str) -> String {
        format!("{:#}", parse(text).err().unwrap_or_else(|| panic!("{text} was taken")))
    }

    #[test]
    fn nothing_said_is_a_server_on_this_machine_only() {
        let config = parse("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert!(config.tls.is_none() && config.cors_origins.is_empty() && config.watch.is_none());
        assert!(matches!(config.database, Database::Sqlite));
        assert!(
            matches!(config.objects, Objects::Folder(folder) if folder == Path::new("/data/objects"))
        );
    }

    #[test]
    fn every_bad_value_is_named_at_once() {
        let error = wrong(
            "listen = 'here'\npublic_url = 'ftp://x'\ncolour = 1\n[limits]\nburst = 0\nbody_bytes = 'big'\n\
             spd = 3\n[log]\nformat = 'xml'\nfilter = 'a=b=c'\n[tls]\nkey = 'k.pem'\n[cors]\norigins = ['*']",
        );
        for name in [
            "listen: ",
            "public_url: ",
            "colour: ",
            "limits.burst: ",
            "limits.body_bytes: ",
            "limits.spd: ",
            "log.format: ",
            "log.filter: ",
            "tls: needs both",
            "cors.origins: \"*\"",
        ] {
            assert!(error.contains(name), "{name} is not named: {error}");
        }
    }

    #[test]
    fn plain_http_that_others_can_reach_must_be_asked_for() {
        for listen in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            let error = wrong(&format!("listen = '{listen}'"));
            assert!(error.contains(listen) && error.contains("allow_plain_http"), "{error}");
            parse(&format!("listen = '{listen}'\nallow_plain_http = true")).unwrap();
            parse(&format!("listen = '{listen}'\n[tls]\ncertificate = 'c'\nkey = 'k'")).unwrap();
        }
        parse("listen = '[::1]:80'").unwrap();
    }

    #[test]
    fn passwords_are_not_taken_from_the_file_and_not_repeated() {
        let error = wrong("database = 'postgres://u:hunter2@h/d'");
        assert!(error.contains("GARIM_DATABASE_URL") && !error.contains("hunter2"), "{error}");
        let with = |url: &str| {
            let url = Zeroizing::new(url.to_owned());
            Config::parse("", Overrides::default(), url, || Ok("/data".into()))
        };
        let error = format!("{:#}", with("mysql://u:hunter2@h/d").err().unwrap());
        assert!(error.contains("postgres://") && !error.contains("hunter2"), "{error}");
        let config = with("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let Database::Postgres(url) = config.database else { panic!() };
        assert_eq!(url.reveal(), "postgres://u:hunter2@h/d");
    }

    #[test]
    fn objects_are_in_one_place() {
        assert!(wrong("[objects]\nfolder = 'x'\nbucket = 'b'").contains("both folder and bucket"));
        assert!(wrong("[objects]\nregion = 'r'").contains("no bucket"));
        assert!(wrong("[objects]\nbucket = ''").contains("objects.bucket: "));
        assert!(wrong("objects = 3").contains("objects: "));
        let config = parse("[objects]\nbucket = 'b'\nendpoint = 'http://127.0.0.1:9000'").unwrap();
        assert!(matches!(config.objects, Objects::S3 { bucket, .. } if bucket == "b"));
    }

    #[test]
    fn every_setting_of_the_manual_is_taken() {
        let manual = include_str!("../../../docs/reference/settings.md");
        let (_, block) = manual.split_once("```toml\n").unwrap();
        let (example, _) = block.split_once("```").unwrap();
        let config = parse(example).unwrap();
        assert!(matches!(config.objects, Objects::S3 { .. }) && config.tls.is_some());
        assert_eq!(config.live.rtmp_url, "rtmp://live.example.org");
        // What the manual gives for limits, jobs and retention are the defaults.
        let default = parse("").unwrap();
        let told = |config: &Config| {
            let live = (config.live.channels, config.live.wait);
            format!("{:?} {:?} {:?} {live:?}", config.limits, config.jobs, config.retention)
        };
        assert_eq!(told(&config), told(&default));
    }

    #[test]
    fn publishers_are_told_an_address_whatever_is_said() {
        let url = |text: &str| parse(text).unwrap().live.rtmp_url;
        assert_eq!(url(""), "rtmp://127.0.0.1");
        assert_eq!(url("public_url = 'https://tv.example.org:8443'"), "rtmp://tv.example.org");
        let other = "public_url = 'https://tv.example.org'\n[live]\nlisten = '[::]:1936'";
        assert_eq!(url(other), "rtmp://tv.example.org:1936");
        assert_eq!(url("[live]\nlisten = '[::1]:1935'"), "rtmp://[::1]");
        let tls = "[tls]\ncertificate = 'c'\nkey = 'k'\n[live]\ntls_listen = '[::1]:443'\n";
        assert_eq!(url(tls), "rtmps://[::1]");
        assert_eq!(url(&tls.replace("443", "1936")), "rtmps://[::1]:1936");
        assert_eq!(url(&format!("{tls}listen = '[::1]:1935'")), "rtmp://[::1]");
        assert_eq!(
            url("[live]\nrtmp_url = 'rtmps://in.example.org:443/'"),
            "rtmps://in.example.org:443"
        );
        for bad in ["http://x", "rtmp://x/live", "rtmp:x", "rtmp://x?key=1"] {
            assert!(wrong(&format!("[live]\nrtmp_url = '{bad}'")).contains("live.rtmp_url: "));
        }
        assert!(wrong("[live]\nchannels = 0").contains("live.channels: "));
        assert!(wrong("[live]\ntls_listen = '[::]:443'").contains("tls_listen: RTMPS needs"));
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_place() {
        assert!(wrong("listen = ").contains("line 1"));
    }
}
