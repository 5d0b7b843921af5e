//! Integration tests: the real binary against real components.
#[path = "../lab/lab.rs"]
mod lab;
mod cli;
mod demo;
mod lab_selftest;
mod requests;
mod scale;
mod surfaces;
mod traffic;
mod web;
