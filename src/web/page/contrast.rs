//! The colours of both schemes, measured by WCAG 2.2: 4.5 for text (1.4.3), 3 for signs and controls (1.4.11).

use std::collections::BTreeMap;

/// Each `--name:#rrggbb` of one rule.
fn colours(rule: &str) -> BTreeMap<&str, [f64; 3]> {
    let body = rule.split('{').next_back().unwrap_or_default();
    let pairs =
        body.split(';').filter_map(|declaration| declaration.trim().strip_prefix("--")?.split_once(":#"));
    pairs
        .map(|(name, hex)| {
            let part = |at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            (name, [part(0), part(2), part(4)])
        })
        .collect()
}

/// Relative luminance as WCAG defines it.
fn luminance(colour: [f64; 3]) -> f64 {
    let [red, green, blue] = colour
        .map(|part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn both_schemes_have_the_contrast_of_wcag_aa() {
    let rules: Vec<_> =
        super::STYLE.split('}').filter(|rule| rule.contains(":root{--bg:#")).take(2).collect();
    let (light, dark) = (colours(rules[0]), colours(rules[1]));
    assert!(rules[1].contains("prefers-color-scheme:dark") && dark["bg"] < light["bg"]);
    assert!(light.keys().eq(dark.keys()), "each colour has its value in both schemes");
    let mut weak = Vec::new();
    for (scheme, of) in [("light", &light), ("dark", &dark)] {
        let mut wants = |text: &str, ground: &str, least: f64| {
            let found = contrast(of[text], of[ground]);
            if found < least {
                weak.push(format!("{scheme}: {text} on {ground}: {found:.2}, wanted {least}"));
            }
        };
        for ground in ["bg", "card", "tint"] {
            for text in ["ink", "soft", "link", "good", "bad", "warn", "none"] {
                wants(text, ground, 4.5);
            }
            wants("focus", ground, 3.0);
        }
        for ground in ["good", "bad", "warn", "none"] {
            wants("on", ground, 4.5);
        }
    }
    assert!(weak.is_empty(), "{}", weak.join("\n"));
}

#[test]
fn contrast_is_measured_as_wcag_measures_it() {
    assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 1e-9);
    // #767676 is the well-known lightest grey on white.
    assert!((contrast([118.0 / 255.0; 3], [1.0; 3]) - 4.54).abs() < 0.01);
}
