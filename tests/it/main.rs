//! Integration tests: the real binary against real components.
mod alerts;
mod cli;
mod cluster;
mod dashboards;
mod database;
mod demo;
mod drift;
mod heartbeat;
#[path = "../lab/lab.rs"]
mod lab;
mod lab_selftest;
mod leader;
mod limits;
mod page;
mod paging;
mod peer;
mod reload;
mod requests;
mod scale;
mod secrets;
mod surfaces;
mod traffic;
mod watches;
mod web;
mod web_config;
mod web_limits;
mod web_ready;
