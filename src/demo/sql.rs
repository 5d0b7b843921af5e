//! The SQL that the stand-in database understands: transactions, settings, and reads of its few tables.
//!
//! Not an SQL engine. What it does not understand it refuses, with the SQLSTATE that PostgreSQL would choose
//! (42601 for what is no statement, 0A000 for a statement that it does not have), so that nobody takes a wrong
//! answer for a right one.

use pgwire::api::Type;
use pgwire::error::{ErrorInfo, PgWireError};

/// A refusal: SQLSTATE and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// One statement, with every name in it resolved.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// `begin`, `start transaction`; `None`: the mode is the session's default.
    Begin {
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    /// `set [session | local] name = value`.
    Set {
        name: String,
        value: String,
        local: bool,
    },
    /// `set transaction read only | read write`.
    SetTransaction {
        read_only: bool,
    },
    Show {
        name: String,
    },
    Select(Select),
    /// A statement that would write: its verb, in upper case.
    Write(&'static str),
    /// `discard`, `deallocate`, `reset all`: accepted, its tag.
    Housekeeping(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Select {
    pub(super) items: Vec<Item>,
    pub(super) table: Option<Table>,
    /// Column index and whether descending.
    pub(super) order: Vec<(usize, bool)>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) expression: Expression,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Column(usize, Type),
    Integer(i32),
    Text(String),
    Call(Function),
    CountRows,
    Extreme {
        column: usize,
        of: Type,
        largest: bool,
    },
    /// `expression::text`.
    AsText(Box<Expression>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Function {
    InetServerAddr,
    InetServerPort,
    IsInRecovery,
    BackendPid,
    Version,
    CurrentUser,
    CurrentDatabase,
    Now,
    LastReplay,
    CurrentSetting { name: String, missing_ok: bool },
    SetConfig { name: String, value: String, local: bool },
    Sleep { seconds: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Orders,
    Users,
    SchemaMigrations,
    /// `pg_control_system()`.
    ControlSystem,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Number(String),
    Text(String),
    Symbol(char),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

/// Splits a query string at its semicolons and reads each statement; empty ones are left out.
pub(super) fn parse(sql: &str) -> Result<Vec<Statement>, Refusal> {
    tokens(sql)?
        .split(|token| *token == Token::Symbol(';'))
        .filter(|tokens| !tokens.is_empty())
        .map(|tokens| Parser { tokens: tokens.to_vec(), at: 0 }.statement())
        .collect()
}

fn tokens(sql: &str) -> Result<Vec<Token>, Refusal> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
        } else if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            let end = rest.find("*/").ok_or_else(|| Refusal::syntax("/*"))?;
            rest = &rest[end + 2..];
        } else if first == '\'' || first == '"' {
            let (text, after) = quoted(rest, first)?;
            found.push(if first == '"' { Token::Quoted(text) } else { Token::Text(text) });
            rest = after;
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_lowercase()));
            rest = &rest[end..];
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            found.push(Token::Number(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            found.push(Token::Symbol(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(found)
}

/// Reads a quoted text that starts at `rest`; a doubled quote stands for one.
fn quoted(rest: &str, quote: char) -> Result<(String, &str), Refusal> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            text.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            text.push(quote);
            characters.next();
        } else {
            return Ok((text, &rest[at + 1..]));
        }
    }
    Err(Refusal { code: "42601", message: "unterminated quoted string".to_owned() })
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn syntax(near: &str) -> Self {
        Self::new("42601", format!("syntax error at or near \"{near}\""))
    }

    fn unsupported(what: &str) -> Self {
        Self::new("0A000", format!("the stand-in database has no {what}"))
    }
}

impl From<Refusal> for ErrorInfo {
    fn from(Refusal { code, message }: Refusal) -> Self {
        Self::new("ERROR".to_owned(), code.to_owned(), message)
    }
}

impl From<Refusal> for PgWireError {
    fn from(refusal: Refusal) -> Self {
        Self::UserError(Box::new(refusal.into()))
    }
}

// === impl Statement ===

impl Statement {
    /// The columns of the answer, by name and type; none when the statement answers with no rows.
    pub(super) fn columns(&self) -> Vec<(String, Type)> {
        match self {
            Self::Select(select) => {
                select.items.iter().map(|item| (item.name.clone(), item.expression.kind())).collect()
            }
            Self::Show { name } => vec![(name.clone(), Type::TEXT)],
            Self::Begin { .. }
            | Self::Commit
            | Self::Rollback
            | Self::Set { .. }
            | Self::SetTransaction { .. }
            | Self::Write(_)
            | Self::Housekeeping(_) => Vec::new(),
        }
    }

    /// Whether the statement ends a transaction, which is all that a failed one accepts.
    pub(super) fn ends_transaction(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback)
    }
}

// === impl Expression ===

impl Expression {
    pub(super) fn kind(&self) -> Type {
        match self {
            Self::Column(_, kind) | Self::Extreme { of: kind, .. } => kind.clone(),
            Self::Integer(_) => Type::INT4,
            Self::Text(_) | Self::AsText(_) => Type::TEXT,
            Self::CountRows => Type::INT8,
            Self::Call(function) => match function {
                Function::InetServerAddr => Type::INET,
                Function::InetServerPort | Function::BackendPid => Type::INT4,
                Function::IsInRecovery => Type::BOOL,
                Function::Version | Function::CurrentSetting { .. } | Function::SetConfig { .. } => {
                    Type::TEXT
                }
                Function::CurrentUser | Function::CurrentDatabase => Type::NAME,
                Function::Now | Function::LastReplay => Type::TIMESTAMPTZ,
                Function::Sleep { .. } => Type::VOID,
            },
        }
    }

    fn is_aggregate(&self) -> bool {
        match self {
            Self::CountRows | Self::Extreme { .. } => true,
            Self::AsText(inner) => inner.is_aggregate(),
            Self::Column(..) | Self::Integer(_) | Self::Text(_) | Self::Call(_) => false,
        }
    }
}

// === impl Select ===

impl Select {
    /// Whether the answer is one row made of all rows.
    pub(super) fn aggregates(&self) -> bool {
        self.items.iter().any(|item| item.expression.is_aggregate())
    }
}

// === impl Table ===

impl Table {
    pub(super) fn columns(self) -> &'static [(&'static str, Type)] {
        match self {
            Self::Orders => &[("id", Type::INT8), ("user_id", Type::INT8), ("created_at", Type::TIMESTAMPTZ)],
            Self::Users => &[("id", Type::INT8), ("name", Type::TEXT)],
            Self::SchemaMigrations => &[("version", Type::TEXT)],
            Self::ControlSystem => &[("system_identifier", Type::INT8)],
        }
    }

    fn named(name: &str, called: bool) -> Result<Self, Refusal> {
        match (name, called) {
            ("orders", false) => Ok(Self::Orders),
            ("users", false) => Ok(Self::Users),
            ("schema_migrations", false) => Ok(Self::SchemaMigrations),
            ("pg_control_system", true) => Ok(Self::ControlSystem),
            (_, true) => Err(Refusal::new("42883", format!("function {name}() does not exist"))),
            (_, false) => Err(Refusal::new("42P01", format!("relation \"{name}\" does not exist"))),
        }
    }

    fn column(self, name: &str) -> Result<(usize, Type), Refusal> {
        self.columns()
            .iter()
            .position(|(column, _)| *column == name)
            .map(|at| (at, self.columns()[at].1.clone()))
            .ok_or_else(|| Refusal::new("42703", format!("column \"{name}\" does not exist")))
    }
}

// === impl Parser ===

impl Parser {
    fn statement(mut self) -> Result<Statement, Refusal> {
        let Some(Token::Word(verb)) = self.next() else { return Err(self.unexpected_before()) };
        let statement = match verb.as_str() {
            "begin" => self.begin()?,
            "start" => {
                self.expect("transaction")?;
                self.begin()?
            }
            "commit" | "end" => self.end(Statement::Commit)?,
            "rollback" | "abort" => self.end(Statement::Rollback)?,
            "set" => self.set()?,
            "show" => Statement::Show { name: self.setting_name()? },
            "select" => Statement::Select(self.select()?),
            "insert" => return Ok(Statement::Write("INSERT")),
            "update" => return Ok(Statement::Write("UPDATE")),
            "delete" => return Ok(Statement::Write("DELETE")),
            "merge" => return Ok(Statement::Write("MERGE")),
            "truncate" => return Ok(Statement::Write("TRUNCATE TABLE")),
            "create" => return Ok(Statement::Write("CREATE TABLE")),
            "alter" => return Ok(Statement::Write("ALTER TABLE")),
            "drop" => return Ok(Statement::Write("DROP TABLE")),
            "discard" => self.housekeeping("DISCARD ALL")?,
            "deallocate" => self.housekeeping("DEALLOCATE ALL")?,
            "reset" => self.housekeeping("RESET")?,
            "with" | "values" | "table" | "explain" | "declare" | "fetch" | "copy" | "savepoint"
            | "release" | "lock" | "listen" | "notify" | "call" | "do" | "prepare" | "execute" | "vacuum"
            | "analyze" => {
                return Err(Refusal::unsupported(&verb.to_uppercase()));
            }
            _ => return Err(Refusal::syntax(&verb)),
        };
        match self.peek() {
            None => Ok(statement),
            Some(Token::Word(word)) if is_clause(word) => Err(Refusal::unsupported(&word.to_uppercase())),
            Some(_) => {
                self.at += 1;
                Err(self.unexpected_before())
            }
        }
    }

    fn begin(&mut self) -> Result<Statement, Refusal> {
        let _ = self.accept("transaction") || self.accept("work");
        Ok(Statement::Begin { read_only: self.modes()? })
    }

    /// `read only`, `read write`, `isolation level ...`, `[not] deferrable`, in any order.
    fn modes(&mut self) -> Result<Option<bool>, Refusal> {
        let mut read_only = None;
        loop {
            if self.accept("read") {
                read_only = Some(self.accept("only"));
                if read_only == Some(false) {
                    self.expect("write")?;
                }
            } else if self.accept("isolation") {
                self.expect("level")?;
                let _ = self.accept("serializable")
                    || (self.accept("repeatable") && self.accept("read"))
                    || (self.accept("read") && (self.accept("committed") || self.accept("uncommitted")));
            } else if self.accept("not") {
                self.expect("deferrable")?;
            } else if !self.accept("deferrable") && !self.symbol(',') {
                return Ok(read_only);
            }
        }
    }

    fn end(&mut self, statement: Statement) -> Result<Statement, Refusal> {
        let _ = self.accept("transaction") || self.accept("work");
        if self.peek().is_some() {
            Err(Refusal::unsupported("such end of a transaction"))
        } else {
            Ok(statement)
        }
    }

    fn housekeeping(&mut self, tag: &'static str) -> Result<Statement, Refusal> {
        self.next().map(|_| Statement::Housekeeping(tag)).ok_or_else(|| Refusal::syntax("end of input"))
    }

    fn set(&mut self) -> Result<Statement, Refusal> {
        if self.accept("transaction") {
            return match self.modes()? {
                Some(read_only) => Ok(Statement::SetTransaction { read_only }),
                None => Ok(Statement::Housekeeping("SET")),
            };
        }
        let local = self.accept("local");
        if !local && self.accept("session") && self.accept("characteristics") {
            self.expect("as")?;
            self.expect("transaction")?;
            let value = if self.modes()? == Some(true) { "on" } else { "off" };
            let name = "default_transaction_read_only".to_owned();
            return Ok(Statement::Set { name, value: value.to_owned(), local });
        }
        let name = self.setting_name()?;
        if !self.symbol('=') {
            self.expect("to")?;
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.next() {
                Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text) | Token::Number(text)) => {
                    text
                }
                Some(Token::Symbol(_)) | None => return Err(self.unexpected_before()),
            });
            if !self.symbol(',') {
                break;
            }
        }
        let value = values.join(", ");
        match (name.as_str(), switch(&value)) {
            ("transaction_read_only", Some(read_only)) => Ok(Statement::SetTransaction { read_only }),
            _ => Ok(Statement::Set { name, value, local }),
        }
    }

    fn setting_name(&mut self) -> Result<String, Refusal> {
        let mut name = self.name()?;
        while self.symbol('.') {
            name = format!("{name}.{}", self.name()?);
        }
        // Two spellings of standard SQL for what PostgreSQL keeps under another name.
        if name == "time" && self.accept("zone") {
            return Ok("timezone".to_owned());
        }
        if name == "transaction" && self.accept("isolation") {
            self.expect("level")?;
            return Ok("transaction_isolation".to_owned());
        }
        Ok(name)
    }

    fn select(&mut self) -> Result<Select, Refusal> {
        // The columns can only be resolved once the table is known, which is written after them.
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 && word == "from" => break,
                Token::Word(_) | Token::Quoted(_) | Token::Number(_) | Token::Text(_) | Token::Symbol(_) => {}
            }
            self.at += 1;
        }
        let table = if self.accept("from") { Some(self.table()?) } else { None };
        let after = self.at;
        self.at = start;
        let items = self.items(table)?;
        if table.is_some() {
            self.expect("from")?;
            self.at = after;
        }
        let order = self.order(table)?;
        let limit = if self.accept("limit") { Some(self.integer()?) } else { None };
        let select = Select { items, table, order, limit };
        let plain = |item: &Item| matches!(item.expression, Expression::Column(..));
        if select.aggregates() && select.items.iter().any(plain) {
            return Err(Refusal::new("42803", "a column must be in a GROUP BY clause or in an aggregate"));
        }
        Ok(select)
    }

    fn table(&mut self) -> Result<Table, Refusal> {
        let mut name = self.name()?;
        if (name == "public" || name == "pg_catalog") && self.symbol('.') {
            name = self.name()?;
        }
        let called = self.symbol('(');
        if called && !self.symbol(')') {
            return Err(Refusal::unsupported("such function in FROM"));
        }
        Table::named(&name, called)
    }

    fn items(&mut self, table: Option<Table>) -> Result<Vec<Item>, Refusal> {
        let mut items = Vec::new();
        loop {
            if self.symbol('*') {
                let table = table.ok_or_else(|| {
                    Refusal::new("42601", "SELECT * with no tables specified is not valid".to_owned())
                })?;
                items.extend(table.columns().iter().enumerate().map(|(at, (name, kind))| Item {
                    name: (*name).to_owned(),
                    expression: Expression::Column(at, kind.clone()),
                }));
            } else {
                let (mut name, expression) = self.expression(table)?;
                if self.accept("as") {
                    name = self.name()?;
                }
                items.push(Item { name, expression });
            }
            if !self.symbol(',') {
                return Ok(items);
            }
        }
    }

    fn expression(&mut self, table: Option<Table>) -> Result<(String, Expression), Refusal> {
        let (name, mut expression) = match self.next() {
            Some(Token::Number(number)) => {
                let number = number.parse().map_err(|_| Refusal::unsupported("such number"))?;
                ("?column?".to_owned(), Expression::Integer(number))
            }
            Some(Token::Text(text)) => ("?column?".to_owned(), Expression::Text(text)),
            Some(Token::Word(name) | Token::Quoted(name)) => {
                let expression = if self.symbol('(') {
                    self.call(&name, table)?
                } else if name == "current_user" || name == "session_user" {
                    Expression::Call(Function::CurrentUser)
                } else {
                    let none = || Refusal::new("42703", format!("column \"{name}\" does not exist"));
                    let (at, kind) = table.ok_or_else(none)?.column(&name)?;
                    Expression::Column(at, kind)
                };
                (name, expression)
            }
            Some(Token::Symbol('$')) => return Err(Refusal::unsupported("statement with parameters")),
            Some(Token::Symbol(_)) | None => return Err(self.unexpected_before()),
        };
        while self.symbol(':') {
            if !self.symbol(':') || !self.accept("text") {
                return Err(Refusal::unsupported("such cast"));
            }
            expression = Expression::AsText(Box::new(expression));
        }
        Ok((name, expression))
    }

    /// What stands after `name(`, to its closing parenthesis.
    fn call(&mut self, name: &str, table: Option<Table>) -> Result<Expression, Refusal> {
        if let ("max" | "min", Some(table)) = (name, table) {
            let (column, of) = table.column(&self.name()?)?;
            self.close()?;
            return Ok(Expression::Extreme { column, of, largest: name == "max" });
        }
        if name == "count" && self.symbol('*') {
            self.close()?;
            return Ok(Expression::CountRows);
        }
        let mut arguments = Vec::new();
        while !self.symbol(')') {
            match self.next() {
                Some(Token::Text(text) | Token::Word(text) | Token::Number(text)) => arguments.push(text),
                Some(Token::Quoted(_) | Token::Symbol(_)) | None => return Err(self.unexpected_before()),
            }
            self.symbol(',');
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let function = match (name, arguments.as_slice()) {
            ("inet_server_addr", []) => Function::InetServerAddr,
            ("inet_server_port", []) => Function::InetServerPort,
            ("pg_is_in_recovery", []) => Function::IsInRecovery,
            ("pg_backend_pid", []) => Function::BackendPid,
            ("version", []) => Function::Version,
            ("current_database", []) => Function::CurrentDatabase,
            ("now" | "clock_timestamp", []) => Function::Now,
            ("pg_last_xact_replay_timestamp", []) => Function::LastReplay,
            ("current_setting", [name]) => {
                Function::CurrentSetting { name: name.to_lowercase(), missing_ok: false }
            }
            ("current_setting", [name, missing_ok]) => Function::CurrentSetting {
                name: name.to_lowercase(),
                missing_ok: switch(missing_ok) == Some(true),
            },
            ("set_config", [name, value, local]) => Function::SetConfig {
                name: name.to_lowercase(),
                value: (*value).to_owned(),
                local: switch(local) == Some(true),
            },
            ("pg_sleep", [seconds]) => Function::Sleep {
                seconds: seconds.parse().map_err(|_| Refusal::new("22P02", "pg_sleep takes a number"))?,
            },
            _ => return Err(Refusal::new("42883", format!("function {name} does not exist"))),
        };
        Ok(Expression::Call(function))
    }

    fn order(&mut self, table: Option<Table>) -> Result<Vec<(usize, bool)>, Refusal> {
        let mut order = Vec::new();
        if !self.accept("order") {
            return Ok(order);
        }
        self.expect("by")?;
        let table = table.ok_or_else(|| Refusal::unsupported("ORDER BY without a table"))?;
        loop {
            let (column, _) = table.column(&self.name()?)?;
            let descending = self.accept("desc");
            let _ = !descending && self.accept("asc");
            order.push((column, descending));
            if !self.symbol(',') {
                return Ok(order);
            }
        }
    }

    fn integer(&mut self) -> Result<usize, Refusal> {
        match self.next() {
            Some(Token::Number(number)) => number.parse().map_err(|_| Refusal::syntax(&number)),
            Some(_) | None => Err(self.unexpected_before()),
        }
    }

    fn name(&mut self) -> Result<String, Refusal> {
        match self.next() {
            Some(Token::Word(name) | Token::Quoted(name)) => Ok(name),
            Some(_) | None => Err(self.unexpected_before()),
        }
    }

    fn close(&mut self) -> Result<(), Refusal> {
        if self.symbol(')') { Ok(()) } else { Err(Refusal::unsupported("such argument of an aggregate")) }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn accept(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at += usize::from(is);
        is
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let is = self.peek() == Some(&Token::Symbol(symbol));
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, word: &str) -> Result<(), Refusal> {
        if self.accept(word) {
            return Ok(());
        }
        self.at += 1;
        Err(self.unexpected_before())
    }

    /// A syntax error at the token that was just taken.
    fn unexpected_before(&self) -> Refusal {
        match self.tokens.get(self.at.saturating_sub(1)) {
            Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text) | Token::Number(text)) => {
                Refusal::syntax(text)
            }
            Some(Token::Symbol(symbol)) => Refusal::syntax(&symbol.to_string()),
            None => Refusal::new("42601", "syntax error at end of input"),
        }
    }
}

/// Clauses that are good SQL and more than the stand-in knows.
fn is_clause(word: &str) -> bool {
    [
        "where", "join", "group", "having", "union", "for", "offset", "inner", "left", "right", "cross",
        "full", "fetch", "window", "and", "or", "limit", "order", "from",
    ]
    .contains(&word)
}

/// A boolean as PostgreSQL's settings spell it.
pub(super) fn switch(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" => Some(true),
        "off" | "false" | "no" | "0" | "f" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> &'static str {
        parse(sql).expect_err(sql).code
    }

    #[test]
    fn transactions_in_every_spelling() {
        let read_only = Statement::Begin { read_only: Some(true) };
        for sql in [
            "begin read only",
            "BEGIN TRANSACTION READ ONLY;",
            "start transaction isolation level repeatable read, read only",
            "begin /* why */ read only -- because",
        ] {
            assert_eq!(parse(sql), Ok(vec![read_only.clone()]), "{sql}");
        }
        assert_eq!(parse("begin"), Ok(vec![Statement::Begin { read_only: None }]));
        assert_eq!(parse("set transaction_read_only = off"), parse("set transaction read write"));
        assert_eq!(parse("commit; delete from orders").map(|all| all.len()), Ok(2));
        assert_eq!(parse(" ;; "), Ok(vec![]));
    }

    #[test]
    fn columns_carry_the_types_of_postgresql() {
        let columns = |sql: &str| parse(sql).unwrap()[0].columns();
        assert_eq!(
            columns("select id, created_at from orders order by created_at desc limit 1"),
            [("id".to_owned(), Type::INT8), ("created_at".to_owned(), Type::TIMESTAMPTZ)]
        );
        assert_eq!(
            columns("select max(version) as version from schema_migrations"),
            [("version".to_owned(), Type::TEXT)]
        );
        assert_eq!(
            columns("select inet_server_addr(), pg_is_in_recovery() as standby, 1"),
            [
                ("inet_server_addr".to_owned(), Type::INET),
                ("standby".to_owned(), Type::BOOL),
                ("?column?".to_owned(), Type::INT4)
            ]
        );
        assert_eq!(columns("show transaction_read_only")[0].1, Type::TEXT);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_state() {
        for (sql, code) in [
            ("selct 1", "42601"),
            ("select 'open", "42601"),
            ("select", "42601"),
            ("begin read sometimes", "42601"),
            ("select id from orders where id = 1", "0A000"),
            ("select id from orders limit 1 offset 2", "0A000"),
            ("with a as (select 1) select 1", "0A000"),
            ("select id from invoices", "42P01"),
            ("select colour from orders", "42703"),
            ("select pg_explode()", "42883"),
            ("select $1", "0A000"),
            ("select id, count(*) from orders", "42803"),
        ] {
            assert_eq!(refused(sql), code, "{sql}");
        }
    }
}
