"""The door for webhooks: HTTP in; inbound events, opt-outs and verified numbers out; 200 after Kafka's ack."""
