"""The simulated exchange's websockets: public streams and those of an account."""
