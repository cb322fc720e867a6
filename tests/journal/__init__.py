"""The journal on its own: records, chain, ledger, watermark, and a golden history."""
