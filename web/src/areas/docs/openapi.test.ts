import { expect, it } from 'vitest'
import { type Document, type Schema, boundsOf, groupsOf, inLanguage, operationId, rowsOf, search, typeOf } from './openapi'

const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })
const DOCUMENT: Document = {
  info: { title: 't', version: '1' },
  paths: {
    '/api/v1/alarms/{id}': { get: { tags: ['alarm'], summary: 'One alarm.', parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }] } },
    '/api/v1/registers/x/records': {
      post: { tags: ['某台账 · X'], summary: 'Makes', requestBody: { content: { 'application/json': { schema: ref('Tree') } } }, responses: { 201: { description: 'made', content: { 'application/json': { schema: ref('Tree') } } } } },
      get: { tags: ['某台账 · X'], summary: 'Lists', parameters: [{ name: 'f.level', in: 'query' }] },
    },
  },
  components: {
    schemas: {
      Tree: { type: 'object', required: ['id'], properties: { id: { type: 'string' }, below: { type: 'array', items: ref('Tree') }, place: { oneOf: [{ type: 'null' }, ref('Place')] } } },
      Place: { type: 'object', description: 'WGS-84', required: ['lon'], properties: { lon: { type: 'number', format: 'double', minimum: -180, maximum: 180 } } },
      Whole: { allOf: [ref('Tree'), { properties: { fields: { additionalProperties: { type: 'string' } } } }] },
      Either: { oneOf: [{ title: 'a', properties: { x: { type: 'string' } } }, { title: 'b', properties: { y: { type: 'string' } } }] },
      Loop: { properties: { next: ref('Loop2') } },
      Loop2: { properties: { next: ref('Loop') } },
    },
  },
}
const shown = (schema: Schema) => rowsOf(DOCUMENT, schema, 'ch').map((r) => `${'  '.repeat(r.depth)}${r.variant ? `#${r.variant} ` : ''}${r.name}${r.required ? '*' : ''}: ${r.type}${r.again ? ' (again)' : ''}`)

it('groups_operations_by_tag_with_addresses_that_stay', () => {
  expect(groupsOf(DOCUMENT).map((g) => [g.name, g.kind, g.operations.map((o) => o.id)])).toEqual([
    ['alarm', null, ['get-alarms-id']],
    ['某台账 · X', 'x', ['get-registers-x-records', 'post-registers-x-records']],
  ])
  expect(operationId('get', '/api/v1/points/{id}/readings.csv')).toBe('get-points-id-readings.csv')
})
it('says_a_name_that_stands_there_twice_in_the_language_of_the_reader', () => {
  expect(inLanguage('事故隐患 · Hidden danger', 'zh-CN')).toBe('事故隐患')
  expect(inLanguage('事故隐患 · Hidden danger', 'en')).toBe('Hidden danger')
  expect(inLanguage('a · b', 'zh-CN')).toBe('a · b')
})
it('finds_an_operation_by_every_word_wherever_it_stands', () => {
  const found = (text: string) => search(groupsOf(DOCUMENT), text).flatMap((g) => g.operations.map((o) => o.id))
  expect(found('台账 POST')).toEqual(['post-registers-x-records'])
  expect(found('f.level')).toEqual(['get-registers-x-records'])
  expect(found('alarm nothing')).toEqual([])
  expect(found('  ')).toHaveLength(3)
})
it('lays_a_schema_out_and_never_follows_it_into_itself', () => {
  expect(shown(ref('Tree'))).toEqual(['id*: string', 'below: Tree[] (again)', 'place: null | Place', '  lon*: number (double)'])
  expect(shown({ type: 'array', items: ref('Place') })).toEqual(['lon*: number (double)'])
  expect(shown(ref('Loop'))).toEqual(['next: Loop2', '  next: Loop (again)'])
  expect(shown(ref('Nowhere'))).toEqual([])
})
it('joins_the_parts_of_a_whole_and_names_each_of_several_shapes', () => {
  expect(shown(ref('Whole'))).toEqual(['id*: string', 'below: Tree[] (again)', 'place: null | Place', '  lon*: number (double)', 'fields: object', '  *: string'])
  expect(shown(ref('Either'))).toEqual(['#1 a: object', '  x: string', '#2 b: object', '  y: string'])
})
it('is_bounded_in_depth_and_in_rows', () => {
  let deep: Schema = { type: 'string' }
  for (let i = 0; i < 30; i++) deep = { properties: { in: deep } }
  expect(rowsOf(DOCUMENT, deep, 'ch').length).toBeLessThan(10)
  expect(rowsOf(DOCUMENT, { properties: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, { type: 'string' }])) }, 'ch')).toHaveLength(400)
})
it('says_what_bounds_a_value', () => {
  expect(boundsOf({ enum: ['a', 'b'] }, 'ch')).toBe('a | b')
  expect(boundsOf({ minimum: 1, maximum: 1000 }, 'ch')).toBe('1–1000')
  expect(boundsOf({ minLength: 1, maxLength: 200, default: 'x' }, 'ch')).toBe('1–200 ch; = "x"')
  expect(typeOf({ type: ['string', 'null'], format: 'date' })).toBe('string (date) | null')
})
