// Runs Kusto queries over rows: the part of the language that the queries of the infrastructure use, and no more.
// Argument: the folder of the language service. Standard input, a line a run: {"now": ms, "queries": {id: text},
// "schemas": {table: "(column:type, ...)"}, "rows": {table: [row, ...]}}. Standard output, a line a run: the rows of the
// result, by id. Times and spans are milliseconds. What is unknown is an error, and ends the process.
"use strict";

const readline = require("node:readline");
const { children, load, text } = require("./service.js");

const { Bridge, KustoCode, globals, kind } = load(process.argv[2]);
let input = {};
const SPANS = { d: 86400000, h: 3600000, m: 60000, s: 1000 };

const isEmpty = (value) => value === null || value === undefined || value === "";
const named = (node) => children(node).filter((each) => each.ChildCount > 0);
const elements = (list) => children(list).map((each) => children(each)[0]);
const part = (node, wanted) => children(node).find((each) => kind(each) === wanted);
const unquoted = (literal) => JSON.parse(literal.replace(/^'(.*)'$/, '"$1"'));

function ordered(left, right) {
  if (isEmpty(left) || isEmpty(right)) return isEmpty(left) - isEmpty(right) === 0 ? 0 : isEmpty(left) ? -1 : 1;
  return left < right ? -1 : left > right ? 1 : 0;
}

// Functions of values.
const SCALARS = {
  tostring: (value) => (isEmpty(value) ? "" : String(value)),
  toint: (value) => (isEmpty(value) ? null : Math.trunc(Number(value))),
  todouble: (value) => (isEmpty(value) ? null : Number(value)),
  split: (value, separator) => value.split(separator),
  bin: (value, size) => Math.floor(value / size) * size,
  ago: (span) => input.now - span,
  now: () => input.now,
  isempty: isEmpty,
  isnotnull: (value) => value !== null && value !== undefined,
  isinf: (value) => value === Infinity,
  isfinite: (value) => Number.isFinite(value),
  strcat: (...values) => values.join(""),
  // A stand-in for the decomposition of a series: 1 above the upper fence of Tukey, which Azure uses for what remains.
  series_decompose_anomalies: (series, threshold) => {
    const sorted = [...series].sort((left, right) => left - right);
    const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
    return series.map((value) => (value > at(0.75) + threshold * (at(0.75) - at(0.25)) ? 1 : 0));
  },
};

// Functions of groups: `each(expression)` are its values in the rows of the group.
const largest = (values) => values.reduce((most, value) => (ordered(value, most) > 0 ? value : most), null);
const smallest = (values) => values.reduce((least, value) => (least === null || value < least ? value : least), null);
const total = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);
const where = (each, value, condition) => {
  const chosen = each(condition);
  return each(value).filter((_, index) => chosen[index]);
};
const AGGREGATES = {
  count: (each, size) => size,
  sum: (each, size, value) => total(each(value)),
  sumif: (each, size, value, condition) => total(where(each, value, condition)),
  countif: (each, size, condition) => each(condition).filter(Boolean).length,
  avg: (each, size, value) => total(each(value)) / size,
  max: (each, size, value) => largest(each(value)),
  maxif: (each, size, value, condition) => largest(where(each, value, condition)),
  minif: (each, size, value, condition) => smallest(where(each, value, condition)),
};

// Operators of two values. A comparison with nothing is false, other than equality.
const BINARY = {
  AndExpression: (left, right) => left && right,
  OrExpression: (left, right) => left || right,
  EqualExpression: (left, right) => left === right,
  NotEqualExpression: (left, right) => left !== right,
  EqualTildeExpression: (left, right) => String(left).toLowerCase() === String(right).toLowerCase(),
  GreaterThanExpression: (left, right) => !isEmpty(left) && left > right,
  GreaterThanOrEqualExpression: (left, right) => !isEmpty(left) && left >= right,
  AddExpression: (left, right) => left + right,
  MultiplyExpression: (left, right) => left * right,
  DivideExpression: (left, right) => left / right,
};

// Scope of an expression: the row, its place among the rows, sums that run, and the group of an aggregate.
function value(node, scope) {
  const type = kind(node);
  if (type in BINARY) {
    const [left, , right] = children(node);
    return BINARY[type](value(left, scope), value(right, scope));
  }
  switch (type) {
    case "NameReference":
      if (!(text(node) in scope.row)) throw new Error(`no column ${text(node)}`);
      return scope.row[text(node)];
    case "StringLiteralExpression":
      return unquoted(text(node));
    case "LongLiteralExpression":
      return Number(text(node));
    case "RealLiteralExpression":
      return text(node) === "real(+inf)" ? Infinity : Number(text(node));
    case "TimespanLiteralExpression":
      return Number(text(node).slice(0, -1)) * SPANS[text(node).slice(-1)];
    case "UnaryMinusExpression":
      return -value(children(node)[1], scope);
    case "ParenthesizedExpression":
      return value(children(node)[1], scope);
    case "PathExpression":
      return value(children(node)[0], scope)?.[text(children(node)[2])] ?? null;
    case "ElementExpression": {
      const [whole, key] = [value(children(node)[0], scope), value(children(children(node)[1])[1], scope)];
      return (key < 0 ? whole[whole.length + key] : whole?.[key]) ?? null;
    }
    case "InExpression":
    case "NotInExpression": {
      const [left, , list] = children(node);
      const values = elements(children(list)[1]).map((each) => value(each, scope));
      return values.includes(value(left, scope)) === (type === "InExpression");
    }
    case "FunctionCallExpression":
      return called(node, scope);
    default:
      throw new Error(`unknown expression ${type}: ${text(node)}`);
  }
}

function called(node, scope) {
  const name = text(children(node)[0]);
  const given = elements(children(children(node)[1])[1]);
  if (scope.group && name in AGGREGATES) {
    const each = (expression) => scope.group.map((row) => value(expression, { row }));
    return AGGREGATES[name](each, scope.group.length, ...given);
  }
  if (name === "ingestion_time") return scope.row.IngestionTime ?? scope.row.TimeGenerated;
  if (name === "iff") return value(value(given[0], scope) ? given[1] : given[2], scope);
  if (name === "case") {
    const found = given.findIndex((each, index) => index % 2 === 0 && index < given.length - 1 && value(each, scope));
    return value(found < 0 ? given.at(-1) : given[found + 1], scope);
  }
  if (name === "prev") return scope.index === 0 ? "" : value(given[0], { ...scope, row: scope.rows[scope.index - 1] });
  if (name === "row_cumsum") {
    const before = scope.index === 0 || value(given[1], scope) ? 0 : scope.running.get(node);
    scope.running.set(node, before + value(given[0], scope));
    return scope.running.get(node);
  }
  if (!(name in SCALARS)) throw new Error(`unknown function ${name}`);
  return SCALARS[name](...given.map((each) => value(each, scope)));
}

// A column: its name and its expression. `bin(TimeGenerated, 1h)` keeps the name of what it rounds.
function column(node) {
  if (kind(node) === "SimpleNamedExpression") return [text(children(node)[0]), children(node)[2]];
  if (kind(node) === "NameReference") return [text(node), node];
  const given = elements(children(children(node)[1])[1]);
  return [text(given[0]), node];
}

function grouped(rows, by) {
  const groups = new Map();
  for (const row of rows) {
    const key = Object.fromEntries(by.map(([name, expression]) => [name, value(expression, { row })]));
    const id = JSON.stringify(key);
    if (!groups.has(id)) groups.set(id, { key, group: [] });
    groups.get(id).group.push(row);
  }
  return [...groups.values()];
}

function summarized(node, rows) {
  const clause = part(node, "SummarizeByClause");
  const by = clause ? elements(part(clause, "List")).map(column) : [];
  const wanted = elements(children(node).filter((each) => kind(each) === "List")[1]);
  const groups = grouped(rows, by);
  if (!clause && groups.length === 0) groups.push({ key: {}, group: [] });
  return groups.map(({ key, group }) => ({
    ...key,
    ...Object.assign({}, ...wanted.map((each) => aggregated(each, group))),
  }));
}

function aggregated(node, group) {
  if (kind(node) === "FunctionCallExpression" && text(children(node)[0]) === "arg_max") {
    const names = elements(children(children(node)[1])[1]).map(text);
    const best = group.reduce((most, row) => (most && ordered(row[names[0]], most[names[0]]) <= 0 ? most : row), null);
    return Object.fromEntries(names.map((name) => [name, best ? best[name] : null]));
  }
  const [name, expression] = column(node);
  return { [name]: value(expression, { row: {}, group }) };
}

function series(node, rows) {
  const steps = part(node, "MakeSeriesFromToStepClause");
  const bound = (clause) => value(children(part(steps, clause))[1], { row: {} });
  const [from, to] = [bound("MakeSeriesFromClause"), bound("MakeSeriesToClause")];
  const step = bound("MakeSeriesStepClause");
  const on = children(part(node, "MakeSeriesOnClause"))[1];
  const [made] = elements(children(node).filter((each) => kind(each) === "List")[1]);
  const [name, expression] = column(children(made)[0]);
  const nothing = value(children(children(made)[1])[2], { row: {} });
  const by = elements(part(part(node, "MakeSeriesByClause"), "List")).map(column);
  return grouped(rows, by).map(({ key, group }) => {
    const slots = Array.from({ length: Math.ceil((to - from) / step) }, (_, index) => {
      const isIn = (row) => Math.floor((value(on, { row }) - from) / step) === index;
      const inside = group.filter(isIn);
      return inside.length ? value(expression, { row: {}, group: inside }) : nothing;
    });
    return { ...key, [name]: slots };
  });
}

function joined(node, rows, tables) {
  const how = text(children(part(node, "List"))[0]).replace(/.*=\s*/, "");
  const right = table(part(node, "ParenthesizedExpression") ?? part(node, "NameReference"), tables);
  const keys = elements(part(part(node, "JoinOnClause"), "List")).map(text);
  const others = [...new Set(right.flatMap(Object.keys))];
  const merged = (row, other) => {
    const added = others.map((name) => [name in row ? `${name}1` : name, other ? other[name] : null]);
    return { ...row, ...Object.fromEntries(added) };
  };
  if (how !== "inner" && how !== "leftouter") throw new Error(`unknown join ${how}`);
  return rows.flatMap((row) => {
    const found = right.filter((other) => keys.every((key) => other[key] === row[key]));
    if (found.length === 0) return how === "leftouter" ? [merged(row, null)] : [];
    return found.map((other) => merged(row, other));
  });
}

function sorted(node, rows) {
  const keys = elements(children(node).filter((each) => kind(each) === "List").at(-1)).map((each) => {
    const isOrdered = kind(each) === "OrderedExpression";
    const isAscending = isOrdered && text(children(each)[1]) === "asc";
    return [isOrdered ? children(each)[0] : each, isAscending ? 1 : -1];
  });
  const compared = (left, right) => {
    for (const [expression, sign] of keys) {
      const order = ordered(value(expression, { row: left }), value(expression, { row: right }));
      if (order) return sign * order;
    }
    return 0;
  };
  return [...rows].sort(compared);
}

function united(node, tables) {
  const parts = elements(children(node).filter((each) => kind(each) === "List").at(-1));
  const rows = parts.flatMap((each) => table(each, tables));
  const names = Bridge.toArray(node.ResultType.Columns).map((each) => each.Name);
  return rows.map((row) => Object.fromEntries(names.map((name) => [name, row[name] ?? null])));
}

function changed(node, rows, keeps) {
  const columns = elements(part(node, "List")).map(column);
  const running = new Map();
  return rows.map((row, index) => {
    const scope = { row: { ...row }, rows, index, running };
    const made = Object.fromEntries(columns.map(([name, expression]) => [name, value(expression, scope)]));
    return keeps ? { ...row, ...made } : made;
  });
}

function piped(node, rows, tables) {
  switch (kind(node)) {
    case "FilterOperator":
      return rows.filter((row) => value(children(node).at(-1), { row }));
    case "ExtendOperator":
      return changed(node, rows, true);
    case "ProjectOperator":
      return changed(node, rows, false);
    case "SummarizeOperator":
      return summarized(node, rows);
    case "MakeSeriesOperator":
      return series(node, rows);
    case "JoinOperator":
      return joined(node, rows, tables);
    case "SortOperator":
      return sorted(node, rows);
    case "TakeOperator":
      return rows.slice(0, value(children(node).at(-1), { row: {} }));
    default:
      throw new Error(`unknown operator ${kind(node)}`);
  }
}

function table(node, tables) {
  switch (kind(node)) {
    case "NameReference":
      if (!(text(node) in tables)) throw new Error(`no table ${text(node)}`);
      return tables[text(node)];
    case "ParenthesizedExpression":
      return table(children(node)[1], tables);
    case "PipeExpression":
      return piped(children(node)[2], table(children(node)[0], tables), tables);
    case "UnionOperator":
      return united(node, tables);
    default:
      throw new Error(`unknown source ${kind(node)}: ${text(node)}`);
  }
}

function run(query) {
  const tables = { ...input.rows };
  const block = KustoCode.ParseAndAnalyze(query, globals(input.schemas)).Syntax;
  let rows = [];
  for (const statement of elements(children(block).filter((each) => kind(each) === "List").at(-1))) {
    if (kind(statement) === "LetStatement") {
      const [, name, , expression] = children(statement);
      tables[text(name)] = table(expression, tables);
    } else {
      rows = table(named(statement)[0], tables);
    }
  }
  return rows;
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  input = JSON.parse(line);
  const answers = Object.entries(input.queries).map(([id, query]) => [id, run(query)]);
  process.stdout.write(`${JSON.stringify(Object.fromEntries(answers))}\n`);
});
