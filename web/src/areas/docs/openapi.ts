// Reading an OpenAPI document for people: operations by group, schemas as flat rows with references resolved.
// Pure; never fetches, and never follows a reference into itself. Start at [`groupsOf`] and [`rowsOf`].

export interface Schema {
  $ref?: string
  type?: string | string[]
  format?: string
  title?: string
  description?: string
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  enum?: unknown[]
  const?: unknown
  oneOf?: Schema[]
  anyOf?: Schema[]
  allOf?: Schema[]
  additionalProperties?: boolean | Schema
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  maxItems?: number
  pattern?: string
  default?: unknown
}
export interface Parameter {
  name: string
  in: string
  required?: boolean
  description?: string
  schema?: Schema
}
type Content = Record<string, { schema?: Schema }>
interface RawOperation {
  tags?: string[]
  summary?: string
  description?: string
  parameters?: Parameter[]
  requestBody?: { content?: Content; description?: string; required?: boolean }
  responses?: Record<string, { description?: string; content?: Content }>
}
export interface Document {
  info: { title: string; version: string; description?: string }
  paths: Record<string, Record<string, RawOperation>>
  components?: { schemas?: Record<string, Schema> }
}

/** A body in one type of content. */
export interface Body {
  type: string
  schema: Schema | null
}
export interface Operation {
  /** For the address of the page; the same as long as method and path are. */
  id: string
  method: string
  path: string
  group: string
  summary: string
  description: string
  parameters: Parameter[]
  request: Body[]
  responses: { status: string; description: string; bodies: Body[] }[]
}
export interface Group {
  name: string
  /** The node's own register of this kind, not the platform's endpoints. */
  kind: string | null
  operations: Operation[]
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
const bodies = (content: Content | undefined): Body[] => Object.entries(content ?? {}).map(([type, body]) => ({ type, schema: body.schema ?? null }))
export const operationId = (method: string, path: string) => `${method}${path.replace(/^\/api\/v1/, '').replace(/[{}]/g, '').replace(/\//g, '-')}`

/** Every operation by its first tag, groups and operations in the order of the document's paths. */
export function groupsOf(document: Document): Group[] {
  const groups = new Map<string, Group>()
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      const raw = item[method]
      if (!raw) continue
      const group = raw.tags?.[0] ?? '—'
      const operation: Operation = {
        id: operationId(method, path),
        method: method.toUpperCase(),
        path,
        group,
        summary: raw.summary ?? '',
        description: raw.description ?? '',
        parameters: raw.parameters ?? [],
        request: bodies(raw.requestBody?.content),
        responses: Object.entries(raw.responses ?? {}).map(([status, r]) => ({ status, description: r.description ?? '', bodies: bodies(r.content) })),
      }
      const held = groups.get(group)
      if (held) held.operations.push(operation)
      else groups.set(group, { name: group, kind: KIND.exec(path)?.[1] ?? null, operations: [operation] })
    }
  }
  return [...groups.values()]
}
/** A path that names one kind of register; `{kind}` stands for any. */
const KIND = /\/registers\/([^/{}]+)\//

/** The document says names of registers twice, 中文 · English; a reader wants one of them. */
export function inLanguage(text: string, locale: string): string {
  const at = text.indexOf(' · ')
  if (at < 0 || !/[\u4e00-\u9fff]/.test(text.slice(0, at))) return text
  return locale === 'en' ? text.slice(at + 3) : text.slice(0, at)
}

/** Groups with what holds every word of `text`, in a path, method, summary, group, or name of a parameter. */
export function search(groups: readonly Group[], text: string): Group[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  if (!words.length) return [...groups]
  const holds = (o: Operation) => {
    const all = [o.method, o.path, o.summary, o.description, o.group, ...o.parameters.map((p) => p.name)].join(' ').toLowerCase()
    return words.every((w) => all.includes(w))
  }
  return groups.map((g) => ({ ...g, operations: g.operations.filter(holds) })).filter((g) => g.operations.length)
}

const REF = '#/components/schemas/'
export const refName = (schema: Schema): string | null => (schema.$ref?.startsWith(REF) ? schema.$ref.slice(REF.length) : null)
const resolve = (document: Document, schema: Schema): Schema => {
  const name = refName(schema)
  return name ? (document.components?.schemas?.[name] ?? {}) : schema
}

const isNull = (s: Schema) => s.type === 'null'
const choices = (schema: Schema) => schema.oneOf ?? schema.anyOf ?? null

/** A type in a few words: its name where it has one. */
export function typeOf(schema: Schema): string {
  const name = refName(schema)
  if (name) return name
  const variants = choices(schema)
  if (variants) return [...new Set(variants.map(typeOf))].join(' | ')
  if (schema.allOf) return schema.allOf.map(typeOf).join(' & ')
  const types = Array.isArray(schema.type) ? schema.type : schema.type ? [schema.type] : []
  const shown = types.map((t) => (t === 'array' ? `${schema.items ? typeOf(schema.items) : 'any'}[]` : schema.format && t !== 'null' ? `${t} (${schema.format})` : t))
  if (!shown.length && schema.const !== undefined) return typeof schema.const
  return shown.join(' | ') || (schema.properties || typeof schema.additionalProperties === 'object' ? 'object' : 'any')
}

/** What bounds a value, as it stands in the document; `chars` is the reader's word for characters. */
export function boundsOf(schema: Schema, chars: string): string {
  const range = (least: number | undefined, most: number | undefined, unit = '') => {
    if (least === undefined && most === undefined) return ''
    return most === undefined ? `≥ ${least}${unit}` : least === undefined ? `≤ ${most}${unit}` : `${least}–${most}${unit}`
  }
  return [
    schema.enum ? schema.enum.map(String).join(' | ') : '',
    schema.const !== undefined ? String(schema.const) : '',
    range(schema.minimum, schema.maximum),
    range(schema.minLength, schema.maxLength, ` ${chars}`),
    schema.maxItems !== undefined ? `≤ ${schema.maxItems} ×` : '',
    schema.pattern ? `/${schema.pattern}/` : '',
    schema.default !== undefined && schema.default !== null ? `= ${JSON.stringify(schema.default)}` : '',
  ]
    .filter(Boolean)
    .join('; ')
}

export interface Row {
  /** How far inside, from 0. */
  depth: number
  name: string
  type: string
  required: boolean
  bounds: string
  description: string
  /** It holds itself and is not followed again. */
  again: boolean
  /** A heading for one of several shapes: which, from 1. */
  variant?: number
}
/** Levels that a reader follows; deeper ones are named alone. */
const DEPTH_MAX = 5
/** Rows of one table: more is a document, not a table. */
const ROWS_MAX = 400

/** A schema as rows of a table, each property below what holds it. */
export function rowsOf(document: Document, schema: Schema, chars: string): Row[] {
  const rows: Row[] = []
  function into(at: Schema, depth: number, seen: readonly string[]) {
    const name = refName(at)
    if (name && seen.includes(name)) return
    const path = name ? [...seen, name] : seen
    const here = resolve(document, at)
    if (depth > DEPTH_MAX || rows.length >= ROWS_MAX) return
    for (const part of here.allOf ?? []) into(part, depth, path)
    const variants = choices(here)?.filter((v) => !isNull(v)) ?? []
    if (variants.length === 1) into(variants[0]!, depth, path)
    else {
      variants.forEach((v, i) => {
        const shape = resolve(document, v)
        if (!shape.properties && !shape.allOf && !shape.oneOf && !shape.anyOf) return
        rows.push({ depth, name: v.title ?? refName(v) ?? '', type: typeOf(v), required: false, bounds: '', description: shape.description ?? '', again: false, variant: i + 1 })
        into(v, depth + 1, path)
      })
    }
    if (here.items) into(here.items, depth, path)
    for (const [key, property] of Object.entries(here.properties ?? {})) put(key, property, here.required?.includes(key) ?? false, depth, path)
    if (typeof here.additionalProperties === 'object') put('*', here.additionalProperties, false, depth, path)
  }
  function put(key: string, property: Schema, required: boolean, depth: number, path: readonly string[]) {
    if (rows.length >= ROWS_MAX) return
    const target = resolve(document, property)
    const inner = refName(property) ?? refName(property.items ?? {})
    const again = inner !== null && path.includes(inner)
    // An array of words bounds its words, not itself.
    const bounds = boundsOf(target, chars) || (target.items ? boundsOf(resolve(document, target.items), chars) : '')
    rows.push({ depth, name: key, type: typeOf(property), required, bounds, description: property.description ?? target.description ?? '', again })
    if (!again) into(property, depth + 1, path)
  }
  into(schema, 0, [])
  return rows
}
