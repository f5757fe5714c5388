"""The health of processes: probes, and the status files behind them."""
