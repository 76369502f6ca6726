package clinic;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** A pet clinic as small as can be: one list, served over HTTP. */
public final class PetClinic {
    private static final Pets PETS = new Pets("Leo the cat", "Max the dog", "Iggy the iguana");

    private PetClinic() {}

    public static void main(String[] args) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/pets", PetClinic::answer);
        server.start();
        System.out.println("PetClinic listens on port 8080");
    }

    private static void answer(HttpExchange exchange) throws IOException {
        String name = exchange.getRequestURI().getQuery();
        byte[] body = PETS.find(name == null ? "" : name).getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
