// Loads Microsoft's language service for Kusto, which is made for browsers: its files are loaded as scripts.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

function load(library) {
  const scripts = vm.createContext({ console, setTimeout, clearTimeout });
  for (const name of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
    vm.runInContext(fs.readFileSync(path.join(library, name), "utf8"), scripts, { filename: name });
  }
  const { Bridge, Kusto, System } = scripts;
  const kindNames = new Map(Object.entries(Kusto.Language.Syntax.SyntaxKind).map(([name, number]) => [number, name]));
  const { GlobalState, KustoCode, Symbols } = Kusto.Language;
  // A database that has tables of these schemas: {name: "(column:type, ...)"}.
  const globals = (tables) => {
    const symbols = Object.entries(tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null));
    const members = new (System.Collections.Generic.List$1(Symbols.Symbol).$ctor1)(symbols);
    return GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("workspace", members, false));
  };
  return { Bridge, KustoCode, globals, kind: (node) => kindNames.get(node.Kind) };
}

const text = (node) => node.ToString(0).replace(/^\s*(\/\/[^\n]*\n\s*)*/, "").trim();

function children(node) {
  const found = [];
  for (let index = 0; index < node.ChildCount; index += 1) {
    const child = node.GetChild(index);
    if (child) found.push(child);
  }
  return found;
}

module.exports = { children, load, text };
