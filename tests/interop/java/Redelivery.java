// What a group gets again: messages that its consumer fails, delayed ones, and in the end its dead letters. A producer and a push consumer,
// concurrent or orderly.
//
// Arguments: nameservers, topic, `concurrent` or `orderly`, how many messages of each kind.
//
// Kinds: `good` is consumed at once, `twice` fails once, `dead` fails always, `late` is sent with delay level 2.
// Says FAILED when every message that fails has failed once, CONSUMED when all others are consumed, DEAD when the dead letters are all there.

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

public class Redelivery {
    static final long PATIENCE_MILLIS = 90_000;
    static final int RETRIES = 2;
    static final Map<String, Integer> attempts = new ConcurrentHashMap<>();
    static final Set<String> consumed = ConcurrentHashMap.newKeySet();
    static final Set<String> failed = ConcurrentHashMap.newKeySet();

    public static void main(String[] args) throws Exception {
        String nameservers = args[0];
        String topic = args[1];
        boolean orderly = args[2].equals("orderly");
        int count = Integer.parseInt(args[3]);
        String group = "redelivery-" + args[2];

        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameservers);
        // By default a client looks for a new topic each 30 s: its group's retry topic is one.
        consumer.setPollNameServerInterval(500);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setMaxReconsumeTimes(RETRIES);
        consumer.subscribe(topic, "*");
        if (orderly) {
            consumer.setSuspendCurrentQueueTimeMillis(100);
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                messages.stream().allMatch(Redelivery::consume)
                    ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) ->
                messages.stream().allMatch(Redelivery::consume)
                    ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        consumer.start();

        DefaultMQProducer producer = new DefaultMQProducer("redelivery-producer");
        producer.setNamesrvAddr(nameservers);
        producer.start();
        for (int i = 0; i < count; i++) {
            send(producer, new Message(topic, bytes("good " + i)));
            send(producer, new Message(topic, bytes("twice " + i)));
            send(producer, new Message(topic, bytes("dead " + i)));
            Message late = new Message(topic, bytes("late " + i));
            late.setDelayTimeLevel(2);
            send(producer, late);
        }
        await("every message that fails has failed once", () -> failed.size() == 2 * count);
        System.out.println("FAILED " + failed.size());
        await("the others are consumed", () -> consumed.size() == 3 * count);
        System.out.println("CONSUMED " + consumed.size());
        Set<String> dead = ConcurrentHashMap.newKeySet();
        await("the dead letters are there", () -> {
            dead.addAll(pull(nameservers, "%DLQ%" + group));
            return dead.size() == count;
        });
        check(dead.stream().allMatch(it -> it.startsWith("dead ")), "only messages that always fail are dead: " + dead);
        int fewest = attempts.entrySet().stream().filter(it -> it.getKey().startsWith("dead ")).mapToInt(Map.Entry::getValue).min().getAsInt();
        check(fewest > RETRIES, "each is tried " + RETRIES + " times again, not " + (fewest - 1));
        System.out.println("DEAD " + dead.size());
        producer.shutdown();
        consumer.shutdown();
        System.exit(0);
    }

    /** Whether it is consumed. */
    static boolean consume(MessageExt message) {
        String text = new String(message.getBody(), StandardCharsets.UTF_8);
        int attempt = attempts.merge(text, 1, Integer::sum);
        if (text.startsWith("dead ") || text.startsWith("twice ") && attempt == 1) {
            failed.add(text);
            return false;
        }
        if (text.startsWith("twice ")) {
            check(message.getReconsumeTimes() > 0, text + " says that it has come again");
        }
        consumed.add(text);
        return true;
    }

    /** The application's own retry: a failed send is sent again until it is acknowledged. */
    static void send(DefaultMQProducer producer, Message message) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        while (true) {
            try {
                if (producer.send(message).getSendStatus() == SendStatus.SEND_OK) {
                    return;
                }
            } catch (Exception error) {
                if (System.currentTimeMillis() > deadline) {
                    throw error;
                }
            }
            Thread.sleep(50);
        }
    }

    /** Everything in a topic; nothing while it has no route or its master does not answer. */
    static Set<String> pull(String nameservers, String topic) throws Exception {
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("dead-letter-reader");
        consumer.setNamesrvAddr(nameservers);
        consumer.setInstanceName("reader-" + System.nanoTime());
        consumer.start();
        try {
            for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
                long offset = consumer.minOffset(queue);
                while (offset < consumer.maxOffset(queue)) {
                    PullResult result = consumer.pull(queue, "*", offset, 32);
                    if (result.getPullStatus() == PullStatus.FOUND) {
                        List<MessageExt> found = result.getMsgFoundList();
                        found.forEach(it -> got.add(new String(it.getBody(), StandardCharsets.UTF_8)));
                    }
                    offset = result.getNextBeginOffset();
                }
            }
        } catch (Exception notYet) {
            return got;
        } finally {
            consumer.shutdown();
        }
        return got;
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void await(String what, Condition condition) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        while (!condition.holds()) {
            check(System.currentTimeMillis() < deadline, "waited in vain: " + what + "; failed " + failed + ", consumed " + consumed);
            Thread.sleep(50);
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            System.out.println("WRONG " + what);
            System.exit(1);
        }
    }
}
