//! Connections to the origin.
