// A Java application that lives through a failover: it creates a topic, sends with every setting at its default, pulls everything back and
// lists what the admin API knows. The test kills the master when this says READY.
//
// Arguments: nameservers, topic, messages before the kill, messages after it.

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

public class Failover {
    static final long PATIENCE_MILLIS = 90_000;

    public static void main(String[] args) throws Exception {
        String nameservers = args[0];
        String topic = args[1];
        int before = Integer.parseInt(args[2]);
        int after = Integer.parseInt(args[3]);

        DefaultMQAdminExt admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(nameservers);
        admin.start();
        createTopic(admin, topic);
        say("TOPIC created");

        DefaultMQProducer producer = new DefaultMQProducer("java-producer");
        producer.setNamesrvAddr(nameservers);
        producer.start();
        List<String> acknowledged = new ArrayList<>();
        for (int i = 0; i < before; i++) {
            acknowledged.add(send(producer, topic, i));
        }
        say("READY " + acknowledged.size());
        long longestGap = 0;
        long last = System.currentTimeMillis();
        for (int i = before; i < before + after; i++) {
            acknowledged.add(send(producer, topic, i));
            long now = System.currentTimeMillis();
            longestGap = Math.max(longestGap, now - last);
            last = now;
            // Spread over the failover, so that messages are under way when it happens.
            Thread.sleep(5);
        }
        say("SENT " + acknowledged.size() + ", longest gap " + longestGap + " ms");
        producer.shutdown();

        require("lite pull consumer", pullLite(nameservers, topic, acknowledged.size()), acknowledged);
        require("pull consumer", pullClassic(nameservers, topic), acknowledged);
        list(admin, topic, acknowledged.size());
        admin.shutdown();
        say("DONE");
        System.exit(0);
    }

    static void createTopic(DefaultMQAdminExt admin, String topic) throws Exception {
        ClusterInfo cluster = admin.examineBrokerClusterInfo();
        for (BrokerData broker : cluster.getBrokerAddrTable().values()) {
            TopicConfig config = new TopicConfig(topic);
            config.setReadQueueNums(4);
            config.setWriteQueueNums(4);
            admin.createAndUpdateTopicConfig(broker.getBrokerAddrs().get(0L), config);
        }
    }

    /** The application's own retry: a failed send is sent again until it is acknowledged. */
    static String send(DefaultMQProducer producer, String topic, int number) throws Exception {
        String text = "message " + number;
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        while (true) {
            try {
                Message message = new Message(topic, "tag" + number % 3, "key" + number, text.getBytes(StandardCharsets.UTF_8));
                SendResult result = producer.send(message);
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    return text;
                }
            } catch (Exception failed) {
                if (System.currentTimeMillis() > deadline) {
                    throw failed;
                }
            }
            Thread.sleep(50);
        }
    }

    static Set<String> pullLite(String nameservers, String topic, int atLeast) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("java-lite-consumer");
        consumer.setNamesrvAddr(nameservers);
        consumer.setAutoCommit(false);
        consumer.start();
        consumer.assign(consumer.fetchMessageQueues(topic));
        for (MessageQueue queue : consumer.fetchMessageQueues(topic)) {
            consumer.seekToBegin(queue);
        }
        Set<String> got = new HashSet<>();
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        while (got.size() < atLeast && System.currentTimeMillis() < deadline) {
            for (MessageExt message : consumer.poll(1000)) {
                got.add(new String(message.getBody(), StandardCharsets.UTF_8));
            }
        }
        consumer.commitSync();
        consumer.shutdown();
        return got;
    }

    static Set<String> pullClassic(String nameservers, String topic) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("java-pull-consumer");
        consumer.setNamesrvAddr(nameservers);
        consumer.start();
        Set<String> got = new HashSet<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long offset = consumer.minOffset(queue);
            while (offset < consumer.maxOffset(queue)) {
                PullResult result = consumer.pull(queue, "*", offset, 32);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    for (MessageExt message : result.getMsgFoundList()) {
                        got.add(new String(message.getBody(), StandardCharsets.UTF_8));
                    }
                }
                offset = result.getNextBeginOffset();
            }
            consumer.updateConsumeOffset(queue, offset);
        }
        consumer.shutdown();
        return got;
    }

    static void list(DefaultMQAdminExt admin, String topic, int atLeast) throws Exception {
        check(admin.fetchAllTopicList().getTopicList().contains(topic), "the nameserver lists the topic");
        BrokerData broker = admin.examineTopicRouteInfo(topic).getBrokerDatas().get(0);
        check(broker.getBrokerAddrs().containsKey(0L), "the route has a master: " + broker.getBrokerAddrs());
        long stored = admin.examineTopicStats(topic).getOffsetTable().values().stream()
            .mapToLong(it -> it.getMaxOffset() - it.getMinOffset()).sum();
        check(stored >= atLeast, "the queues hold " + stored + " of " + atLeast);
        say("LISTED " + broker.getBrokerAddrs().size() + " replicas");
    }

    static void require(String what, Set<String> got, List<String> acknowledged) {
        List<String> lost = new ArrayList<>(acknowledged);
        lost.removeAll(got);
        check(lost.isEmpty(), what + " misses " + lost.size() + " acknowledged messages, first " + (lost.isEmpty() ? "" : lost.get(0)));
        say("PULLED everything: " + what);
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            say("FAILED " + what);
            System.exit(1);
        }
    }

    static void say(String line) {
        System.out.println(line);
    }
}
