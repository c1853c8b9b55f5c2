use super::*;

/// The tree in brackets, to see what binds to what.
fn shape(node: &Node) -> String {
    let optional = |of: &Option<Box<Node>>| match of {
        Some(of) => format!("{}.", shape(of)),
        None => String::new(),
    };
    let list = |nodes: &[Node], by: &str| nodes.iter().map(shape).collect::<Vec<_>>().join(by);
    match &node.kind {
        Kind::Binary(operator, left, right) => {
            let (symbol, ..) = OPERATORS.iter().find(|row| row.2 == *operator).expect("row");
            format!("({} {symbol} {})", shape(left), shape(right))
        }
        Kind::Call { of, name, arguments, .. } => {
            format!("{}{name}({})", optional(of), list(arguments, ", "))
        }
        Kind::Empty => "{}".to_owned(),
        Kind::External(name) => format!("%{name}"),
        Kind::Indexer(of, at) => format!("{}[{}]", shape(of), shape(at)),
        Kind::Literal(Literal::Boolean(value)) => value.to_string(),
        Kind::Literal(Literal::Decimal(value)) => value.to_string(),
        Kind::Literal(Literal::Integer(value)) => value.to_string(),
        Kind::Literal(Literal::Quantity(value, unit)) => format!("{value}'{unit}'"),
        Kind::Literal(Literal::String(text)) => format!("'{text}'"),
        Kind::Literal(Literal::Temporal(text)) => format!("@{text}"),
        Kind::Polarity { negative, of } => {
            format!("({}{})", if *negative { "-" } else { "+" }, shape(of))
        }
        Kind::Path { of, names } => {
            let names: Vec<_> = names.iter().map(|name| &*name.text).collect();
            format!("{}{}", optional(of), names.join("."))
        }
        Kind::Position => "$index".to_owned(),
        Kind::This => "$this".to_owned(),
        Kind::Total => "$total".to_owned(),
        Kind::Type { test, of, specifier } => {
            format!("<{}{test:?} {}>", optional(of), specifier.name)
        }
        Kind::Union(arms) => format!("({})", list(arms, " | ")),
    }
}

#[test]
fn operators_bind_as_the_precedence_table_says() {
    for (text, expected) in [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("-1.abs() + 2", "((-1.abs()) + 2)"),
        ("a or b and c", "(a or (b and c))"),
        ("a implies b or c", "(a implies (b or c))"),
        ("a = b and c != d", "((a = b) and (c != d))"),
        ("a | b | c = d", "((a | b | c) = d)"),
        ("a < b = true", "((a < b) = true)"),
        ("a is B | c", "(<a.Is B> | c)"),
        ("a + b is System.String", "<(a + b).Is String>"),
        ("(a.b as Quantity).value", "<a.b.As Quantity>.value"),
        ("a.as(Quantity).c", "<a.AsFunction Quantity>.c"),
        ("where(resolve() is Patient)", "where(<resolve().Is Patient>)"),
        ("a contains b or c in d", "((a contains b) or (c in d))"),
        ("contains.as.is.in", "contains.as.is.in"),
        ("Patient.text.div", "Patient.text.div"),
        ("a.`div`.`x y`[0].c", "a.div.x y[0].c"),
        ("$this.a[$index + 1]", "$this.a[($index + 1)]"),
        ("%resource.a & %`ext-x`", "(%resource.a & %ext-x)"),
        ("5 'mg' = 2 days", "(5'mg' = 2'days')"),
        ("@2015-01 < @T10:00", "(@2015-01 < @T10:00)"),
        ("{} = {}", "({} = {})"),
        ("iif(a, b, c).d", "iif(a, b, c).d"),
        ("a.aggregate($this + $total, 0)", "a.aggregate(($this + $total), 0)"),
        ("is", "is"),
        ("sort(-a, b)", "sort((-a), b)"),
    ] {
        assert_eq!(parse(text).map(|node| shape(&node)), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn faults_are_found_with_their_column() {
    for (text, column) in [
        ("", 1),
        ("a.", 3),
        ("a b", 3),
        ("a +", 4),
        ("(a", 3),
        ("a[0", 4),
        ("f(a,", 5),
        ("a.$this", 3),
        ("$that", 1),
        ("2 + 2 /", 8),
        ("and", 1),
        ("a.is(1)", 6),
        ("99999999999999999999", 1),
        ("'é' + )", 7),
    ] {
        let fault = parse(text).expect_err(text);
        assert_eq!(fault.column, column, "{text}: {fault}");
    }
}

#[test]
fn depth_is_bounded_however_it_is_written() {
    for text in [
        "(".repeat(60_000),
        format!("1{}", "+1".repeat(30_000)),
        "-".repeat(60_000) + "1",
        "a.b()".to_owned() + &".b()".repeat(10_000),
        "a[".repeat(10_000),
        "f(".repeat(10_000),
        "1|(".repeat(10_000),
        "a is b".to_owned() + &" is b".repeat(10_000),
        " ".repeat(70_000),
    ] {
        assert!(parse(&text).is_err(), "{}", &text[..12]);
    }
    assert!(parse(&("a".to_owned() + &".a".repeat(20_000))).is_ok());
    assert!(parse(&("a".to_owned() + &"|a".repeat(20_000))).is_ok());
}
