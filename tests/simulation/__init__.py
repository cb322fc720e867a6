"""A seeded simulation of the core, the journal and the bus: no clock, no thread, no Kafka, the same every time."""
