//! What the operating system is asked for: limits, memory, descriptors.
