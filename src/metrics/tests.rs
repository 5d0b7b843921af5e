//! Whole expositions: the test is the documentation.
