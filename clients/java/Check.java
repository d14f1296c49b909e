import java.io.File;
import java.net.HttpURLConnection;
import java.net.URL;

/** Sends a file to a running server with GarimUpload, and watches the result: scripts/check-clients.sh. */
final class Check {
    public static void main(String[] args) throws Exception {
        String server = System.getenv("GARIM_URL");
        GarimUpload client = new GarimUpload(server, System.getenv("GARIM_KEY"));
        File file = new File(System.getenv("GARIM_TEST_VIDEO"));
        String video = client.begin(file, "clip.mp4");
        client.send(video, file);
        client.await(client.cover(video));
        String address = client.watchAddress(video);
        HttpURLConnection watch = (HttpURLConnection) new URL(address).openConnection();
        byte[] start = new byte[8];
        int count = watch.getInputStream().readNBytes(start, 0, 8);
        check(count == 8 && new String(start, 4, 4, "US-ASCII").equals("ftyp"), "no MP4 at the address");
        try {
            new GarimUpload(server, "garim_none").watchAddress(video);
            check(false, "a wrong key was taken");
        } catch (GarimUpload.GarimException error) {
            check(error.status == 401 && error.code.equals("unauthenticated"), error.toString());
        }
        System.out.println("Java: sent, covered and watched");
    }

    private static void check(boolean good, String otherwise) {
        if (!good) {
            throw new AssertionError(otherwise);
        }
    }
}
