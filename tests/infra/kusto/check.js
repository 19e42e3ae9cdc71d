// Analyses Kusto queries with Microsoft's language service.
// Standard input: {"library": folder, "tables": {name: "(column:type, ...)"}, "queries": {id: text}}.
// Standard output, by id: diagnostics, the columns of the result, and each pipeline that reads a table:
// {"table", "texts": texts that a column is compared with, by column or property, "properties": names of properties,
// "aggregates": names of functions that take the column Sum}.
"use strict";

const fs = require("node:fs");
const { children, load, text } = require("./service.js");

const input = JSON.parse(fs.readFileSync(0, "utf8"));
const { Bridge, KustoCode, globals, kind } = load(input.library);

function* descendants(node, stopsAt) {
  for (const child of children(node)) {
    if (stopsAt(child)) continue;
    yield child;
    yield* descendants(child, stopsAt);
  }
}

// The first table of a pipeline: its leftmost expression.
function source(pipeline) {
  let node = pipeline;
  while (kind(node) === "PipeExpression" || kind(node) === "ParenthesizedExpression") {
    node = children(node).find((child) => child.ChildCount > 0);
  }
  return node;
}

// The name of a property that an expression reads: Properties.name or Properties["name"].
function property(node) {
  if (kind(node) === "PathExpression") return text(children(node)[2]);
  if (kind(node) === "ElementExpression") return text(children(children(node)[1])[1]).replace(/^['"]|['"]$/g, "");
  return null;
}

function readsProperties(node) {
  return ["PathExpression", "ElementExpression"].includes(kind(node)) && text(children(node)[0]) === "Properties";
}

function pipelines(tree, tables) {
  const isPipe = (node) => kind(node) === "PipeExpression";
  const found = [];
  const visit = (node, isInside) => {
    if (isPipe(node) && !isInside) {
      const table = text(source(node));
      if (tables.includes(table)) found.push(describe(node, table));
    }
    for (const child of children(node)) visit(child, isPipe(node) && isPipe(child));
  };
  visit(tree, false);
  return found;
}

function describe(pipeline, table) {
  // Pipelines in the right side of a join, or in a subquery, are described on their own.
  const spine = new Set();
  for (let node = pipeline; kind(node) === "PipeExpression"; node = children(node)[0]) spine.add(node);
  const isOther = (node) => kind(node) === "PipeExpression" && !spine.has(node);
  const nodes = [...descendants(pipeline, isOther)];
  const properties = nodes.filter(readsProperties).map(property);
  const texts = {};
  for (const node of nodes.filter((each) => /^(Equal|EqualTilde|In|NotIn)Expression$/.test(kind(each)))) {
    const [left] = children(node);
    const read = readsProperties(left) ? left : [...descendants(left, () => false)].find(readsProperties);
    const literals = [...descendants(node, () => false)].filter((each) => kind(each) === "StringLiteralExpression");
    const inLeft = new Set([left, ...descendants(left, () => false)]);
    const values = literals.filter((each) => !inLeft.has(each)).map((each) => text(each).slice(1, -1));
    const name = read ? property(read) : text(left);
    texts[name] = [...(texts[name] ?? []), ...values];
  }
  return { table, texts, properties, aggregates: aggregatesOf(nodes) };
}

function aggregatesOf(nodes) {
  const calls = nodes.filter((each) => kind(each) === "FunctionCallExpression");
  return calls.filter((call) => listed(children(call)[1]).includes("Sum")).map((call) => text(children(call)[0]));
}

// The texts of the elements of an argument list.
function listed(list) {
  const isElement = (node) => kind(node) === "SeparatedElement";
  const elements = [...descendants(list, () => false)].filter(isElement);
  return elements.map((each) => text(children(each)[0]));
}

function analyse(query, state, tables) {
  const code = KustoCode.ParseAndAnalyze(query, state);
  const result = code.ResultType;
  return {
    diagnostics: Bridge.toArray(code.GetDiagnostics()).map(
      (each) => `${each.Severity} ${each.Code}: ${each.Message} («${query.substr(each.Start, each.Length)}»)`,
    ),
    columns: Object.fromEntries(
      result && result.Columns ? Bridge.toArray(result.Columns).map((column) => [column.Name, column.Type.Name]) : [],
    ),
    pipelines: pipelines(code.Syntax, tables),
  };
}

const state = globals(input.tables);
const answers = Object.entries(input.queries).map(([id, query]) => [
  id,
  analyse(query, state, Object.keys(input.tables)),
]);
process.stdout.write(JSON.stringify(Object.fromEntries(answers)));
