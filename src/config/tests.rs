//! Whole files in, whole answers out.
