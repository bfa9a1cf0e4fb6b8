// A Java push consumer, as most applications have one: it joins a group, is given its queues, long-polls, commits, and goes on after the
// master is gone.
//
// Arguments: nameservers, topic, how many different messages to wait for.

import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

public class PushConsumer {
    public static void main(String[] args) throws Exception {
        int wanted = Integer.parseInt(args[2]);
        Set<String> got = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("java-push-consumer");
        consumer.setNamesrvAddr(args[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(args[1], "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                got.add(new String(message.getBody(), StandardCharsets.UTF_8));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        System.out.println("LISTENING");
        int said = 0;
        long deadline = System.currentTimeMillis() + 120_000;
        while (got.size() < wanted && System.currentTimeMillis() < deadline) {
            Thread.sleep(20);
            // Every hundred that was reached is said by its own name: the test waits for it.
            for (; said + 100 <= got.size(); said += 100) {
                System.out.println("GOT " + (said + 100));
            }
        }
        consumer.shutdown();
        System.out.println(got.size() >= wanted ? "DONE" : "FAILED " + got.size() + " of " + wanted);
        System.exit(got.size() >= wanted ? 0 : 1);
    }
}
