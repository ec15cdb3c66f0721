//! The admin port: metrics, health and control, on a listener of its own.
