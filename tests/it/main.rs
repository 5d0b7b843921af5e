//! (being built)
#[path = "../lab/lab.rs"]
mod lab;
mod lab_selftest;
