import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.ACLProvider;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.utils.ZKPaths;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceInstanceBuilder;
import org.apache.curator.x.discovery.ServiceType;
import org.apache.curator.x.discovery.UriSpec;
import org.apache.curator.x.discovery.details.JsonInstanceSerializer;
import org.apache.hadoop.hive.common.ZKDeRegisterWatcher;
import org.apache.hadoop.hive.common.ZooKeeperHiveHelper;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.ACL;

/**
 * Registers services by the classes that they register themselves with, says `ready`, and stays until its standard
 * input ends.
 *
 * <pre>
 * Register HOSTS curator BASE NAME ADDRESS PORT SSL_PORT ENABLED   (PORT or SSL_PORT may be `-`)
 * Register HOSTS hiveserver2 NAMESPACE HOST:PORT VERSION DATA
 * Register HOSTS kyuubi NAMESPACE PREFIX DATA
 * </pre>
 */
public class Register {
  public static void main(String[] args) throws Exception {
    String[] rest = Arrays.copyOfRange(args, 2, args.length);
    switch (args[1]) {
      case "curator" -> curator(args[0], rest);
      case "hiveserver2" -> hiveserver2(args[0], rest);
      case "kyuubi" -> kyuubi(args[0], rest);
      default -> throw new IllegalArgumentException(args[1]);
    }
    System.out.println("ready");
    while (System.in.read() >= 0) {}
    // The session is left to expire or to be closed by the end of the process, as that of a server that is killed.
    Runtime.getRuntime().halt(0);
  }

  static void curator(String hosts, String[] args) throws Exception {
    CuratorFramework client = CuratorFrameworkFactory.newClient(hosts, new RetryOneTime(100));
    client.start();
    ServiceInstanceBuilder<String> builder = ServiceInstance.<String>builder()
        .name(args[1]).address(args[2]).payload("a payload").enabled(Boolean.parseBoolean(args[5]))
        .serviceType(ServiceType.DYNAMIC).uriSpec(new UriSpec("{scheme}://{address}:{port}"));
    if (!args[3].equals("-")) builder.port(Integer.parseInt(args[3]));
    if (!args[4].equals("-")) builder.sslPort(Integer.parseInt(args[4]));
    ServiceDiscovery<String> discovery = ServiceDiscoveryBuilder.builder(String.class)
        .client(client).basePath(args[0])
        .serializer(new JsonInstanceSerializer<>(String.class, false))
        .build();
    discovery.start();
    discovery.registerService(builder.build());
  }

  /** As HiveServer2.java does: the prefix of the name is put together there, everything else is the helper's. */
  static void hiveserver2(String hosts, String[] args) throws Exception {
    ZooKeeperHiveHelper helper = ZooKeeperHiveHelper.builder()
        .quorum(hosts).clientPort(hosts.split(":")[1]).serverRegistryNameSpace(args[0])
        .connectionTimeout(15_000).sessionTimeout(10_000).baseSleepTime(100).maxRetries(3)
        .build();
    ACLProvider open = new ACLProvider() {
      public List<ACL> getDefaultAcl() { return Ids.OPEN_ACL_UNSAFE; }
      public List<ACL> getAclForPath(String path) { return Ids.OPEN_ACL_UNSAFE; }
    };
    String prefix = "serverUri=" + args[1] + ";version=" + args[2] + ";sequence=";
    helper.addServerInstanceToZooKeeper(prefix, args[3], open, new ZKDeRegisterWatcher(helper));
  }

  /** As ZookeeperDiscoveryClient.scala does; it puts PREFIX and DATA together itself. */
  static void kyuubi(String hosts, String[] args) throws Exception {
    CuratorFramework client = CuratorFrameworkFactory.newClient(hosts, new RetryOneTime(100));
    client.start();
    if (client.checkExists().forPath(args[0]) == null) client.create().creatingParentsIfNeeded().forPath(args[0]);
    PersistentNode node = new PersistentNode(client, CreateMode.EPHEMERAL_SEQUENTIAL, false,
        ZKPaths.makePath(args[0], args[1]), args[2].getBytes(StandardCharsets.UTF_8));
    node.start();
    if (!node.waitForInitialCreate(15, TimeUnit.SECONDS)) throw new IllegalStateException("not created in time");
  }
}
