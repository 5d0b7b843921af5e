//! (being built)
mod database;
#[path = "../lab/lab.rs"]
mod lab;
mod lab_selftest;
