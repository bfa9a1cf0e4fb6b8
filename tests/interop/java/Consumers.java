// Java consumers as applications have them, every setting at its default, that go on while the test breaks the cluster.
//
// Arguments: nameservers, folder for the account, topic, then modes: push, orderly, lite; each is a group of its own. Commands on standard input as in
// Producers.java; the account of a mode has one line `lane from to` per run of numbers received. The gap of a period is the longest time that
// any one queue was silent, so the load must reach each queue all the time.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

public class Consumers {
    static volatile boolean stopped;

    public static void main(String[] args) throws Exception {
        String nameservers = args[0];
        Path folder = Path.of(args[1]);
        String topic = args[2];
        List<Mode> modes = new ArrayList<>();
        for (int i = 3; i < args.length; i++) {
            Mode mode = new Mode(args[i]);
            mode.start(nameservers, topic);
            modes.add(mode);
        }
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        int marks = 0;
        for (String command; (command = commands.readLine()) != null && !command.equals("STOP");) {
            marks++;
            for (Mode mode : modes) {
                System.out.println("PERIOD " + marks + " " + mode.name + " " + mode.period());
            }
        }
        stopped = true;
        for (Mode mode : modes) {
            mode.stop.run();
            try (PrintWriter account = new PrintWriter(folder.resolve(mode.name).toFile())) {
                mode.write(account);
            }
        }
        System.out.println("STOPPED");
        System.exit(0);
    }

    static class Mode {
        final String name;
        Runnable stop;
        private final Map<Integer, BitSet> received = new TreeMap<>();
        private final Map<Integer, Long> lastOfQueue = new HashMap<>();
        private long got;
        private long repeated;
        private long skipped;
        private long longestGap;
        private final Map<Integer, Long> furthestOfQueue = new HashMap<>();

        Mode(String name) {
            this.name = name;
        }

        void start(String nameservers, String topic) throws Exception {
            if (name.equals("lite")) {
                DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("java-" + name);
                consumer.setNamesrvAddr(nameservers);
                consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
                consumer.subscribe(topic, "*");
                consumer.start();
                Thread thread = new Thread(() -> {
                    while (!stopped) {
                        take(consumer.poll());
                    }
                });
                thread.start();
                stop = () -> {
                    try {
                        thread.join();
                    } catch (InterruptedException interrupted) {
                        Thread.currentThread().interrupt();
                    }
                    consumer.shutdown();
                };
                return;
            }
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("java-" + name);
            consumer.setNamesrvAddr(nameservers);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(topic, "*");
            if (name.equals("orderly")) {
                consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                    take(messages);
                    return ConsumeOrderlyStatus.SUCCESS;
                });
            } else {
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    take(messages);
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
            }
            consumer.start();
            stop = consumer::shutdown;
        }

        synchronized void take(List<MessageExt> messages) {
            for (MessageExt message : messages) {
                String[] parts = new String(message.getBody(), StandardCharsets.UTF_8).split(":", 3);
                BitSet numbers = received.computeIfAbsent(Integer.parseInt(parts[0]), lane -> new BitSet());
                int number = Integer.parseInt(parts[1]);
                if (numbers.get(number)) {
                    repeated++;
                } else {
                    got++;
                    numbers.set(number);
                }
                long furthest = furthestOfQueue.getOrDefault(message.getQueueId(), -1L);
                if (name.equals("orderly") && message.getQueueOffset() > furthest + 1) {
                    skipped++;
                }
                furthestOfQueue.put(message.getQueueId(), Math.max(furthest, message.getQueueOffset()));
                long now = System.nanoTime();
                Long last = lastOfQueue.put(message.getQueueId(), now);
                longestGap = Math.max(longestGap, last == null ? 0 : now - last);
            }
        }

        synchronized String period() {
            long now = System.nanoTime();
            for (long last : lastOfQueue.values()) {
                longestGap = Math.max(longestGap, now - last);
            }
            String said = "acked=" + got + " repeated=" + repeated + " skipped=" + skipped + " gap_us=" + longestGap / 1_000 + " first_failure=";
            got = 0;
            repeated = 0;
            skipped = 0;
            longestGap = 0;
            return said;
        }

        synchronized void write(PrintWriter account) {
            received.forEach((lane, numbers) -> {
                for (int from = numbers.nextSetBit(0); from >= 0;) {
                    int to = numbers.nextClearBit(from);
                    account.println(lane + " " + from + " " + (to - 1));
                    from = numbers.nextSetBit(to);
                }
            });
        }
    }
}
