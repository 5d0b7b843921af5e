//! STUB
/// Something learnt
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Learnt {
    /// what
    pub what: String,
    /// value
    pub value: String,
    /// from
    pub from: String,
    /// note
    pub note: Option<String>,
}
/// STUB
pub fn learnt(_i: &super::Inventory, _w: &crate::report::DeclaredWorkload) -> Vec<Learnt> { vec![] }
