// Producer writes requests to Kafka the way a Go team would: Sarama with its defaults.
//
//	producer BOOTSTRAP TOPIC < requests
//
// Each line of stdin is a key, a tab and a value. Sarama's default partitioner is FNV-1a, not Kafka's murmur2: records
// land on partitions that are foreign to the pipeline, which re-routes them.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/IBM/sarama"
)

const (
	maxLineBytes = 1 << 20
	maxRecords   = 100_000
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: producer BOOTSTRAP TOPIC < requests")
	}
	// What a producer has to say to lose nothing and keep its order; everything else is Sarama's default.
	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(strings.Split(os.Args[1], ","), config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 64*1024), maxLineBytes)
	for lines.Scan() {
		key, value, found := strings.Cut(lines.Text(), "\t")
		if !found || len(messages) == maxRecords {
			log.Fatalf("line %d: no tab, or too many lines", len(messages)+1)
		}
		messages = append(messages, &sarama.ProducerMessage{
			Topic: os.Args[2], Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(value),
		})
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	if err := producer.SendMessages(messages); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(messages))
}
