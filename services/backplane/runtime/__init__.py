"""The shell that the processors share: faust with batch delivery, Kafka clients, the process around them."""
