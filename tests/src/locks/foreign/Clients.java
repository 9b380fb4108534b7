import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;

/**
 * Clients of Curator, led by the test, in the same words as those of clients.py; KIND is lock, read or write. And
 *
 * <pre>
 * find BASE SERVICE           the instances that Curator's discovery finds: id@address:port payload, by comma
 * find-maps BASE SERVICE      the same of a discovery whose payloads are maps
 * </pre>
 */
public class Clients {
  public static void main(String[] args) throws Exception {
    for (int number = 0; number < Integer.parseInt(args[2]); number++) {
      int mine = number;
      Thread thread = new Thread(() -> {
        try {
          client(args[0], Integer.parseInt(args[1]), mine);
        } catch (Throwable error) {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
        }
      });
      thread.setDaemon(true);
      thread.start();
    }
    while (System.in.read() >= 0) {}
    Runtime.getRuntime().halt(0);
  }

  static InterProcessLock lock(CuratorFramework client, String kind, String path) {
    return switch (kind) {
      case "lock" -> new InterProcessMutex(client, path);
      case "read" -> new InterProcessReadWriteLock(client, path).readLock();
      case "write" -> new InterProcessReadWriteLock(client, path).writeLock();
      default -> throw new IllegalArgumentException(kind);
    };
  }

  static void client(String hosts, int port, int number) throws Exception {
    CuratorFramework client = CuratorFrameworkFactory.newClient(hosts, 3_000, 15_000, new RetryOneTime(100));
    client.start();
    if (!client.blockUntilConnected(60, TimeUnit.SECONDS)) throw new IllegalStateException("not connected");
    Socket test = new Socket("127.0.0.1", port);
    test.setTcpNoDelay(true);
    BufferedReader in = new BufferedReader(new InputStreamReader(test.getInputStream(), StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(test.getOutputStream(), true, StandardCharsets.UTF_8);
    out.print("curator " + number + "\n");
    out.flush();
    InterProcessLock held = null;
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ");
      String answer;
      switch (words[0]) {
        case "lock" -> {
          held = lock(client, words[1], words[2]);
          held.acquire();
          answer = "held";
        }
        case "unlock" -> {
          held.release();
          answer = "free";
        }
        case "contend" -> {
          InterProcessLock lock = lock(client, words[1], words[2]);
          for (int time = 0; time < Integer.parseInt(words[3]); time++) {
            lock.acquire();
            for (String step : new String[] {"enter", "leave"}) {
              out.print(step + "\n");
              out.flush();
              if (in.readLine() == null) return;
            }
            lock.release();
          }
          answer = "done";
        }
        case "find" -> answer = find(client, words[1], words[2], Object.class);
        case "find-maps" -> answer = find(client, words[1], words[2], Map.class);
        default -> throw new IllegalArgumentException(line);
      }
      out.print(answer + "\n");
      out.flush();
    }
  }

  static <T> String find(CuratorFramework client, String base, String service, Class<T> payload)
      throws Exception {
    ServiceDiscovery<T> discovery =
        ServiceDiscoveryBuilder.builder(payload).client(client).basePath(base).build();
    discovery.start();
    StringBuilder found = new StringBuilder();
    for (ServiceInstance<T> each : discovery.queryForInstances(service)) {
      if (found.length() > 0) found.append(',');
      found.append(each.getId()).append('@').append(each.getAddress()).append(':').append(each.getPort());
      found.append(' ').append(each.getPayload());
    }
    discovery.close();
    return found.toString();
  }
}
