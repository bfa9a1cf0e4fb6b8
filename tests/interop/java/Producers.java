// Java producers as applications have them, every setting at its default, that keep sending while the test breaks the cluster.
//
// Arguments: nameservers, folder for the account, messages a second and lane (0: as fast as they are acknowledged), then modes: sync, async,
// oneway, batch, ordered. Each mode is a producer of its own and sends to the topic of its name. Commands on standard input, a line each:
// MARK prints for each mode what happened since the last mark, STOP ends and writes the account: one line `lane from to` per run of
// acknowledged numbers in the file of the mode's name. The end of the input is a STOP.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.Semaphore;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

public class Producers {
    static final int BODY_BYTES = 1024;
    static final int BATCH = 10;
    static final int ASYNC_IN_FLIGHT = 64;
    static volatile boolean stopped;
    static long pauseNanos;

    public static void main(String[] args) throws Exception {
        String nameservers = args[0];
        Path folder = Path.of(args[1]);
        int rate = Integer.parseInt(args[2]);
        pauseNanos = rate == 0 ? 0 : 1_000_000_000L / rate;
        List<Mode> modes = new ArrayList<>();
        for (int i = 3; i < args.length; i++) {
            modes.add(new Mode(args[i], nameservers));
        }
        List<Thread> threads = new ArrayList<>();
        for (Mode mode : modes) {
            for (Lane lane : mode.lanes) {
                Thread thread = new Thread(() -> run(mode, lane));
                thread.start();
                threads.add(thread);
            }
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
        for (Thread thread : threads) {
            thread.join();
        }
        for (Mode mode : modes) {
            mode.inFlight.acquire(ASYNC_IN_FLIGHT);
            mode.producer.shutdown();
            try (PrintWriter account = new PrintWriter(folder.resolve(mode.name).toFile())) {
                for (Lane lane : mode.lanes) {
                    lane.write(account);
                }
            }
        }
        System.out.println("STOPPED");
        System.exit(0);
    }

    static void run(Mode mode, Lane lane) {
        long due = System.nanoTime();
        while (!stopped) {
            try {
                mode.send(lane);
            } catch (Exception failed) {
                lane.failed(failed);
                // A client without any broker would turn in a circle here.
                sleepNanos(1_000_000);
            }
            if (pauseNanos > 0) {
                due = Math.max(due + pauseNanos, System.nanoTime() - pauseNanos);
                sleepNanos(due - System.nanoTime());
            }
        }
    }

    static void sleepNanos(long nanos) {
        if (nanos > 0) {
            java.util.concurrent.locks.LockSupport.parkNanos(nanos);
        }
    }

    /** One producer and what it has been told. */
    static class Mode {
        final String name;
        final DefaultMQProducer producer;
        final List<Lane> lanes = new ArrayList<>();
        final Semaphore inFlight = new Semaphore(ASYNC_IN_FLIGHT);

        Mode(String name, String nameservers) throws Exception {
            this.name = name;
            producer = new DefaultMQProducer("java-" + name);
            producer.setNamesrvAddr(nameservers);
            producer.start();
            int lanes = switch (name) {
                case "sync", "ordered" -> 4;
                case "batch" -> 2;
                default -> 1;
            };
            for (int lane = 0; lane < lanes; lane++) {
                this.lanes.add(new Lane(lane));
            }
        }

        Message message(Lane lane, long number) {
            byte[] body = new byte[BODY_BYTES];
            Arrays.fill(body, (byte) '.');
            byte[] text = (lane.number + ":" + number + ":").getBytes(StandardCharsets.UTF_8);
            System.arraycopy(text, 0, body, 0, text.length);
            return new Message(name, "tag", "lane" + lane.number, body);
        }

        void send(Lane lane) throws Exception {
            long number = lane.next;
            switch (name) {
                case "sync" -> {
                    lane.next++;
                    lane.answered(number, producer.send(message(lane, number)));
                }
                case "ordered" -> {
                    lane.next++;
                    lane.answered(number, producer.send(message(lane, number),
                        (queues, message, key) -> queues.get(Math.floorMod(key.hashCode(), queues.size())), "lane" + lane.number));
                }
                case "batch" -> {
                    lane.next += BATCH;
                    List<Message> batch = new ArrayList<>();
                    for (long it = number; it < number + BATCH; it++) {
                        batch.add(message(lane, it));
                    }
                    SendResult result = producer.send(batch);
                    for (long it = number; it < number + BATCH; it++) {
                        lane.answered(it, result);
                    }
                }
                case "oneway" -> {
                    lane.next++;
                    producer.sendOneway(message(lane, number));
                    lane.handedOver();
                    sleepNanos(1_000_000);
                }
                case "async" -> {
                    lane.next++;
                    inFlight.acquire();
                    try {
                        producer.send(message(lane, number), new SendCallback() {
                            @Override public void onSuccess(SendResult result) {
                                inFlight.release();
                                lane.answered(number, result);
                            }

                            @Override public void onException(Throwable failed) {
                                inFlight.release();
                                lane.failed(failed);
                            }
                        });
                    } catch (Exception failed) {
                        inFlight.release();
                        throw failed;
                    }
                }
                default -> throw new IllegalArgumentException(name);
            }
        }

        String period() {
            long acknowledged = 0;
            long failed = 0;
            long gap = 0;
            String first = "";
            for (Lane lane : lanes) {
                synchronized (lane) {
                    lane.pass();
                    acknowledged += lane.acknowledged;
                    failed += lane.failed;
                    gap = Math.max(gap, lane.longestGap);
                    first = lane.firstFailure == null ? first : lane.firstFailure;
                    lane.acknowledged = 0;
                    lane.failed = 0;
                    lane.longestGap = 0;
                    lane.firstFailure = null;
                }
            }
            return "acked=" + acknowledged + " failed=" + failed + " gap_us=" + gap / 1_000 + " first_failure=" + first;
        }
    }

    /** One thread's numbers 1, 2, 3 … A number that failed is left out. */
    static class Lane {
        final int number;
        long next = 1;
        private final BitSet answered = new BitSet();
        private long acknowledged;
        private long failed;
        private String firstFailure;
        private long last = System.nanoTime();
        private long longestGap;

        Lane(int number) {
            this.number = number;
        }

        synchronized void answered(long number, SendResult result) {
            if (result == null || result.getSendStatus() != SendStatus.SEND_OK) {
                failed(new Exception("" + result));
                return;
            }
            answered.set((int) number);
            handedOver();
        }

        synchronized void handedOver() {
            acknowledged++;
            pass();
            last = System.nanoTime();
        }

        synchronized void failed(Throwable why) {
            failed++;
            if (firstFailure == null) {
                firstFailure = String.valueOf(why).lines().findFirst().orElse("");
            }
        }

        /** A gap that has not ended yet counts as well. */
        synchronized void pass() {
            longestGap = Math.max(longestGap, System.nanoTime() - last);
        }

        synchronized void write(PrintWriter account) {
            for (int from = answered.nextSetBit(0); from >= 0;) {
                int to = answered.nextClearBit(from);
                account.println(number + " " + from + " " + (to - 1));
                from = answered.nextSetBit(to);
            }
        }
    }
}
