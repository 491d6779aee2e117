// What the console says of files, and where they are. Pure. Start at [`thumbnail`].
import type { Attachment } from './types'

const at = (file: { id: string }, door: string) => `/api/v1/attachments/${encodeURIComponent(file.id)}/${door}`
export const thumbnail = (file: { id: string }) => at(file, 'thumbnail')
export const view = (file: { id: string }) => at(file, 'view')
export const content = (file: { id: string }) => at(file, 'content')

/** Bytes as people say them, three digits at most. */
export function size(bytes: number): string {
  if (bytes < 1_000) return `${bytes}\u2009B`
  if (bytes < 1_000_000) return `${Number((bytes / 1_000).toPrecision(3))}\u2009kB`
  return `${Number((bytes / 1_000_000).toPrecision(3))}\u2009MB`
}
/** The last word of a name, for a file that has no picture. */
export const ending = (file: Pick<Attachment, 'name'>) => file.name.split('.').pop()!.toUpperCase()

const TYPES: Record<string, string> = {
  image: 'image/jpeg,image/png,image/webp',
  pdf: 'application/pdf',
  document: '.docx,.xlsx',
  video: 'video/mp4',
  text: '.txt,.csv,.md,.log,text/plain',
}
/** What a file picker offers for these kinds. */
export const accepted = (kinds: readonly string[]) => kinds.map((k) => TYPES[k]).filter(Boolean).join(',')
