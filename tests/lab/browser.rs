//! A headless Chromium, driven by the `DevTools` protocol over a pipe. Scripts are off in every page.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::run::scratch_dir;

/// How long one answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one tab; killed on drop.
pub struct Browser {
    child: Child,
    commands: File,
    heard: Receiver<Value>,
    session: String,
    next: u64,
    width: u32,
    /// What the page's console and its policy complained about since it was loaded.
    pub complaints: Vec<String>,
}

/// How somebody looks at a page.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// The dark scheme is preferred.
    pub dark: bool,
}

/// One node of the accessibility tree: what a screen reader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its role: `heading`, `main`, `link`.
    pub role: String,
    /// Its name.
    pub name: String,
}

// === impl Browser ===

impl Browser {
    /// Starts `chromium`, or what `$CHROMIUM` names.
    pub fn start() -> Self {
        let dir = scratch_dir("chromium");
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        // It reads commands from descriptor 3 and answers on 4, which the shell makes of the pipes that we have.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0 4>&1; exec \"$0\" \"$@\" </dev/null >log 2>&1"])
            .arg(&program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .arg("about:blank")
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("sh for the browser");
        let commands: std::os::fd::OwnedFd = child.stdin.take().expect("a pipe").into();
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let value = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message));
                if value.is_ok_and(|value: Value| tell.send(value).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            commands: File::from(commands),
            heard,
            session: String::new(),
            next: 0,
            width: 0,
            complaints: vec![],
        };
        let tab = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let tab = json!({"targetId": tab["targetId"], "flatten": true});
        browser.session =
            browser.call("Target.attachToTarget", tab)["sessionId"].as_str().expect("a session").to_owned();
        browser.call("Page.enable", json!({}));
        browser.call("Page.setLifecycleEventsEnabled", json!({"enabled": true}));
        browser.call("Log.enable", json!({}));
        browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
        browser
    }

    /// Loads a page at this width and in this scheme, and waits for its end.
    pub fn open(&mut self, url: &str, screen: Screen) {
        let Screen { width, dark } = screen;
        let scheme = if dark { "dark" } else { "light" };
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
        self.width = width;
        self.complaints.clear();
        let loading = self.call("Page.navigate", json!({"url": url}));
        assert!(loading.get("errorText").is_none(), "{url}: {loading}");
        // Of this very load: an earlier page may have refreshed itself meanwhile.
        self.hear(url, |message| {
            let event = &message["params"];
            message["method"] == "Page.lifecycleEvent"
                && (&event["name"], &event["loaderId"]) == (&json!("load"), &loading["loaderId"])
        });
    }

    /// By how many pixels the page is wider than the screen, on which a phone would shrink it.
    pub fn overflow(&mut self) -> f64 {
        let layout = self.call("Page.getLayoutMetrics", json!({}));
        layout["cssContentSize"]["width"].as_f64().expect("a number") - f64::from(self.width)
    }

    /// What a screen reader is told, in order.
    pub fn told(&mut self) -> Vec<Heard> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("nodes").iter().filter(|node| node["ignored"] != true);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| Heard { role: text(&node["role"]), name: text(&node["name"]) }).collect()
    }

    /// The colour of the page's ground as the browser computes it.
    pub fn ground(&mut self) -> String {
        let document = self.call("DOM.getDocument", json!({}));
        self.call("DOM.enable", json!({}));
        self.call("CSS.enable", json!({}));
        let body = json!({"nodeId": document["root"]["nodeId"], "selector": "body"});
        let body = self.call("DOM.querySelector", body);
        let style = self.call("CSS.getComputedStyleForNode", json!({"nodeId": body["nodeId"]}));
        let properties = style["computedStyle"].as_array().expect("properties");
        let ground = properties.iter().find(|property| property["name"] == "background-color");
        ground.and_then(|ground| ground["value"].as_str()).expect("a colour").to_owned()
    }

    /// The whole page as it looks, as PNG in base 64.
    pub fn picture(&mut self) -> String {
        let picture = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        picture["data"].as_str().expect("a picture").to_owned()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method});
        message["params"] = params;
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let written = self.commands.write_all(format!("{message}\0").as_bytes());
        written.unwrap_or_else(|e| panic!("{method}: {e}. Is chromium installed? `make lab` installs it"));
        let answer = self.hear(method, |message| message["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    fn hear(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            match self.heard.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(message) if wanted(&message) => return message,
                // A page that is not found is no complaint.
                Ok(message)
                    if message["method"] == "Log.entryAdded"
                        && message["params"]["entry"]["source"] != "network" =>
                {
                    self.complaints.push(message["params"]["entry"]["text"].to_string());
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{what}: chromium did not answer within {PATIENCE:?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{what}: chromium has ended. Is it installed? `make lab` installs it")
                }
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
