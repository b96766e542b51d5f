// Writes requests to Kafka the way a Node team would: kafkajs with its default partitioner (murmur2, as Java's).
//
//   node producer.js BOOTSTRAP TOPIC < requests      each line of stdin is a key, a tab and a value
"use strict";

const fs = require("node:fs");
const { Kafka, logLevel } = require("kafkajs");

const MAX_RECORDS = 100_000;

async function main() {
  const [bootstrap, topic] = process.argv.slice(2);
  if (!bootstrap || !topic) throw new Error("usage: node producer.js BOOTSTRAP TOPIC < requests");
  const lines = fs.readFileSync(0, "utf8").split("\n").filter(Boolean);
  if (lines.length > MAX_RECORDS) throw new Error(`${lines.length} lines; at most ${MAX_RECORDS}`);
  const messages = lines.map((line) => {
    const tab = line.indexOf("\t");
    if (tab < 0) throw new Error("a line without a tab");
    return { key: line.slice(0, tab), value: line.slice(tab + 1) };
  });
  const kafka = new Kafka({ clientId: "node-producer", brokers: bootstrap.split(","), logLevel: logLevel.ERROR });
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  try {
    await producer.send({ topic, messages });
  } finally {
    await producer.disconnect();
  }
  console.log(messages.length);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
