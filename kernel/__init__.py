"""The ground floor: how kernels are compiled and cached, hashing, keyed randomness, UTF-8. It imports nothing of ours."""
