//! The dashboards in `dashboards/`: classic JSON for Grafana 10 to 12, from metrics of the catalogue only. Pure.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `query.rs` | selectors and the expressions that more than one panel uses |
//! | `words.rs` | which number is shown by which word in which colour |
//! | `panel.rs` | one panel; rows of them, laid out from left to right |
//! | `frame.rs` | what is around the panels: variables, links, annotations |
//! | `fleet.rs`, `site.rs`, `exporter.rs` | the three dashboards |

mod exporter;
mod fleet;
mod frame;
mod panel;
mod query;
mod site;
#[cfg(test)]
mod tests;
mod words;

pub(super) use exporter::exporter;
pub(super) use fleet::fleet;
pub(super) use site::site;

/// Metrics that no panel shows, each with the reason.
#[cfg(test)]
const UNUSED: &[(&str, &str)] = &[
    (
        "process_virtual_memory_bytes",
        "address space that was reserved says nothing about memory that is used",
    ),
    (
        "dr_peer_expected",
        "for rules: what is to be read; whether it is read is shown by the check of each peer",
    ),
];
