//! Integration tests: the real binary against real components.
mod alerts;
mod cli;
mod database;
mod demo;
#[path = "../lab/lab.rs"]
mod lab;
mod lab_selftest;
mod requests;
mod scale;
mod surfaces;
mod traffic;
mod web;
