"""What would have been: recorded inputs decided again under other rules, and what follows from that carried along."""
