//! What a reload changes, and what it leaves alone.
