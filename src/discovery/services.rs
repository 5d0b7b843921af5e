//! STUB
use super::*;
/// x
pub fn address(_i: &Inventory, _s: &ObjectRef, _p: Option<u16>) -> Result<(String, u16), Gap> { Err(Gap::blind("x")) }
