import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { accepted, ending, size } from './files'
import { fieldOf } from './kind'
import { changes, check, draftOf, valueOf } from './values'

const photos = fieldOf(KIND, 'photos')!
const item = (required: boolean) => [{ field: photos, required, fresh: false }]

it('sizes_are_said_with_three_digits', () => {
  expect([0, 999, 1_000, 45_678, 999_600, 12_345_678].map(size)).toEqual(['0\u2009B', '999\u2009B', '1\u2009kB', '45.7\u2009kB', '1000\u2009kB', '12.3\u2009MB'])
})
it('the_picker_offers_what_the_field_takes', () => {
  expect(accepted(['image', 'pdf'])).toBe('image/jpeg,image/png,image/webp,application/pdf')
  expect(accepted(['unknown'])).toBe('')
  expect(ending({ name: '报告.v2.docx' })).toBe('DOCX')
})
it('a_field_of_files_is_a_list_of_ids_and_none_is_nothing', () => {
  expect(valueOf(photos, draftOf(photos, ['7', '8']))).toEqual(['7', '8'])
  expect(valueOf(photos, draftOf(photos, null))).toBeNull()
  expect(changes(item(false), { photos: { ids: ['7'] } }, { photos: ['7'] })).toEqual({})
  expect(changes(item(false), { photos: { ids: [] } }, { photos: ['7'] })).toEqual({ photos: null })
})
it('missing_and_too_many_files_are_told', () => {
  expect(check(item(true), { photos: { ids: [] } }).map((p) => p.fault)).toEqual(['missing'])
  expect(check(item(false), { photos: { ids: [] } })).toEqual([])
  expect(check(item(false), { photos: { ids: ['1', '2', '3'] } })).toMatchObject([{ fault: 'files', bound: 2, name: 'photos' }])
})
