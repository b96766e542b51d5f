import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes requests to Kafka the way a Java team would: kafka-clients with its defaults (murmur2, idempotent, acks=all).
 *
 * <pre>java -cp JARS Producer.java BOOTSTRAP TOPIC &lt; requests</pre>
 *
 * Each line of stdin is a key, a tab and a value.
 */
public final class Producer {
    private static final int MAX_RECORDS = 100_000;

    private Producer() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            throw new IllegalArgumentException("usage: Producer BOOTSTRAP TOPIC < requests");
        }
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
                BufferedReader lines =
                        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                int tab = line.indexOf('\t');
                if (tab < 0 || sent.size() == MAX_RECORDS) {
                    throw new IllegalArgumentException("no tab, or too many lines, at line " + (sent.size() + 1));
                }
                sent.add(producer.send(
                        new ProducerRecord<>(arguments[1], line.substring(0, tab), line.substring(tab + 1))));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
        System.out.println(sent.size());
    }
}
