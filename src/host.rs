//! The one place that asks the operating system who we are.

/// The name of this host, which in a pod is the pod's name; empty if it is not UTF-8.
pub fn name() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or_default().to_owned()
}
