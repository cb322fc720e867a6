"""Reading the journal back: what it says, whether it is whole, and whether its decisions are right."""
