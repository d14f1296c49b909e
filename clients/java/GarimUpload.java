import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * How a phone app sends a recorded video to a Garim server, has it covered, and gets the address to watch it. Needs
 * nothing but HttpURLConnection, so it runs on Android (API 26 and later) as it is; call it from a background thread.
 *
 * <p>The app must not hold an API key for everybody: have your own server hand each user a key of their own, with the
 * scopes read and operate and an end.
 */
public final class GarimUpload {
    /** Bytes of one request: a connection that breaks loses at most this much. */
    private static final int PIECE = 1 << 20;
    /** Milliseconds without a byte until a connection is given up. */
    private static final int PATIENCE = 30_000;
    /** Failures in a row until this gives up. */
    private static final int ATTEMPTS = 8;

    private final String server;
    private final String key;

    /** An answer that is an error. */
    public static final class GarimException extends IOException {
        /** HTTP status. */
        public final int status;
        /** Stable name, or "" where Garim did not answer, or Java kept its body back (401 to a streamed request). */
        public final String code;

        GarimException(int status, String body) {
            super("the server answered " + status + ": " + field(body, "detail"));
            this.status = status;
            this.code = field(body, "code");
        }

        boolean mayPass() {
            return status >= 500 || status == 408 || status == 429 || code.equals("upload_offset");
        }
    }

    /** A client of the server at this address, without a slash at its end. */
    public GarimUpload(String server, String key) {
        this.server = server;
        this.key = key;
    }

    /** Begins an upload; gives the id of the video. Keep it until {@link #send} has returned. */
    public String begin(File file, String name) throws IOException {
        HttpURLConnection request = open("POST", "/v1/uploads");
        request.setRequestProperty("Upload-Length", Long.toString(file.length()));
        String encoded = Base64.getEncoder().encodeToString(name.getBytes(StandardCharsets.UTF_8));
        request.setRequestProperty("Upload-Metadata", "filename " + encoded);
        request.setDoOutput(true);
        request.setFixedLengthStreamingMode(0);
        request.getOutputStream().close();
        answer(request);
        String location = request.getHeaderField("Location");
        return location.substring(location.lastIndexOf('/') + 1);
    }

    /** Sends what the server does not have yet, and goes on when the connection breaks. */
    public void send(String video, File file) throws IOException, InterruptedException {
        int failures = 0;
        long offset = -1;
        while (offset < file.length()) {
            try {
                offset = offset < 0 ? stored(video) : piece(video, file, offset);
                failures = 0;
            } catch (IOException error) {
                boolean passes = !(error instanceof GarimException) || ((GarimException) error).mayPass();
                if (!passes || ++failures == ATTEMPTS) {
                    throw error;
                }
                offset = -1;
                Thread.sleep(Math.min(500L << failures, 30_000));
            }
        }
    }

    private long stored(String video) throws IOException {
        HttpURLConnection request = open("HEAD", "/v1/uploads/" + video);
        answer(request);
        return Long.parseLong(request.getHeaderField("Upload-Offset"));
    }

    private long piece(String video, File file, long offset) throws IOException {
        byte[] bytes = new byte[(int) Math.min(PIECE, file.length() - offset)];
        try (RandomAccessFile from = new RandomAccessFile(file, "r")) {
            from.seek(offset);
            from.readFully(bytes);
        }
        // HttpURLConnection knows no PATCH; the server takes this instead.
        HttpURLConnection request = open("POST", "/v1/uploads/" + video);
        request.setRequestProperty("X-HTTP-Method-Override", "PATCH");
        request.setRequestProperty("Upload-Offset", Long.toString(offset));
        request.setRequestProperty("Content-Type", "application/offset+octet-stream");
        request.setDoOutput(true);
        request.setFixedLengthStreamingMode(bytes.length);
        try (OutputStream body = request.getOutputStream()) {
            body.write(bytes);
        }
        answer(request);
        return Long.parseLong(request.getHeaderField("Upload-Offset"));
    }

    /** Has everybody in the video covered once it is there; gives the id of the job. */
    public String cover(String video) throws IOException, InterruptedException {
        // What was just sent is probed first.
        String probing = field(get("/v1/jobs?video=" + video), "id");
        if (!probing.isEmpty()) {
            await(probing);
        }
        HttpURLConnection request = open("POST", "/v1/videos/" + video + "/mosaic");
        // Sent again, after an answer that got lost, it does nothing again.
        request.setRequestProperty("Idempotency-Key", "cover-" + video);
        request.setRequestProperty("Content-Type", "application/json");
        request.setDoOutput(true);
        try (OutputStream body = request.getOutputStream()) {
            body.write("{\"options\":{}}".getBytes(StandardCharsets.UTF_8));
        }
        return field(answer(request), "id");
    }

    /** Waits until a job is done, and looks less and less often. */
    public void await(String job) throws IOException, InterruptedException {
        for (long delay = 500; ; delay = Math.min(delay * 3 / 2, 15_000)) {
            String state = get("/v1/jobs/" + job);
            String name = field(state.substring(state.indexOf("\"state\"")), "name");
            if (name.equals("done")) {
                return;
            }
            if (name.equals("failed") || name.equals("cancelled")) {
                throw new IOException("the job " + name + ": " + field(state, "message"));
            }
            Thread.sleep(delay);
        }
    }

    /** The address by which the covered video can be watched for some hours, by whoever has it. */
    public String watchAddress(String video) throws IOException {
        Matcher url = Pattern.compile("\"([^\"]*/video\\.mp4\\?[^\"]*)\"").matcher(get("/v1/videos/" + video));
        if (!url.find()) {
            throw new IOException("the video is not public");
        }
        return url.group(1).startsWith("/") ? server + url.group(1) : url.group(1);
    }

    private String get(String path) throws IOException {
        return answer(open("GET", path));
    }

    private HttpURLConnection open(String method, String path) throws IOException {
        HttpURLConnection request = (HttpURLConnection) new URL(server + path).openConnection();
        request.setRequestMethod(method);
        request.setRequestProperty("Authorization", "Bearer " + key);
        request.setRequestProperty("Tus-Resumable", "1.0.0");
        request.setConnectTimeout(PATIENCE);
        request.setReadTimeout(PATIENCE);
        return request;
    }

    private static String answer(HttpURLConnection request) throws IOException {
        int status = request.getResponseCode();
        InputStream from = status < 400 ? request.getInputStream() : request.getErrorStream();
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        if (from != null) {
            byte[] some = new byte[8192];
            for (int count; (count = from.read(some)) > 0; ) {
                body.write(some, 0, count);
            }
            from.close();
        }
        String text = new String(body.toByteArray(), StandardCharsets.UTF_8);
        if (status >= 400) {
            throw new GarimException(status, text);
        }
        return text;
    }

    /** The first text field of that name: an app has a JSON parser for this, such as org.json on Android. */
    private static String field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\\s*\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        return found.find() ? found.group(1) : "";
    }
}
