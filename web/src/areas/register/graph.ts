// The picture of a kind: states in layers, transitions as lines with their names on them. Pure geometry, in pixels.
// Lines that go back (or that close a circle) are turned round for the layout and drawn dashed. Start at [`layout`].
//
// Sugiyama's way in small: longest-path layers, one stop per layer that a line crosses, the order by the mean of the
// neighbours, places by isotonic regression (which keeps the order and the distances). Names are stops too, so none overlap.

export interface GraphState {
  id: string
  name: string
}
export interface GraphTransition {
  id: string
  name: string
  from: readonly string[]
  to: string
}
export interface Box {
  id: string
  name: string
  /** Centre. */
  x: number
  y: number
  width: number
  height: number
  /** Names of transitions that stay in this state. */
  stays: string[]
}
export interface Line {
  from: string
  to: string
  path: string
  back: boolean
  label: { x: number; y: number; width: number; height: number; lines: string[] }
}
export interface Layout {
  width: number
  height: number
  boxes: Box[]
  lines: Line[]
}

const STATE_H = 34
const TEXT_H = 18
const GAP_X = 18
const GAP_Y = 16
const PAD = 12
/** Width of a line that passes a layer without its name. */
const THROUGH_W = 10

/** Width of a text of 13 px, a little too wide rather than too narrow. */
export function textWidth(text: string): number {
  let width = 0
  for (const c of text) width += c.codePointAt(0)! > 0x2e7f ? 13.2 : 7.6
  return Math.ceil(width)
}

interface Stop {
  level: number
  width: number
  /** Line this is a stop of, or -1 for a state. */
  line: number
  state: string | null
  above: number[]
  below: number[]
  x: number
}

/** Layers by longest path, and which edges go back. */
function layers(ids: readonly string[], start: string, edges: readonly { from: string; to: string }[]) {
  const back = new Set<number>()
  const mark = new Map<string, 'open' | 'done'>()
  const order: string[] = []
  const visit = (id: string) => {
    mark.set(id, 'open')
    edges.forEach((e, i) => {
      if (e.from !== id) return
      const seen = mark.get(e.to)
      if (seen === 'open') back.add(i)
      else if (!seen) visit(e.to)
    })
    mark.set(id, 'done')
    order.unshift(id)
  }
  for (const id of [start, ...ids]) if (ids.includes(id) && !mark.has(id)) visit(id)
  const rank = new Map(ids.map((id) => [id, 0]))
  for (const id of order) {
    edges.forEach((e, i) => {
      if (back.has(i) || e.from !== id) return
      rank.set(e.to, Math.max(rank.get(e.to)!, rank.get(id)! + 1))
    })
  }
  return { back, rank, order }
}

/** Places with at least `apart` between neighbours, as near to `wanted` as can be (least squares, by `weight`). */
export function spread(wanted: readonly number[], apart: readonly number[], weight: readonly number[] = wanted.map(() => 1)): number[] {
  const offset: number[] = [0]
  for (let i = 1; i < wanted.length; i++) offset.push(offset[i - 1]! + apart[i - 1]!)
  const pools: { sum: number; weight: number; n: number }[] = []
  wanted.forEach((w, i) => {
    pools.push({ sum: (w - offset[i]!) * weight[i]!, weight: weight[i]!, n: 1 })
    while (pools.length > 1) {
      const [a, b] = [pools[pools.length - 2]!, pools[pools.length - 1]!]
      if (a.sum / a.weight <= b.sum / b.weight) break
      pools.splice(-2, 2, { sum: a.sum + b.sum, weight: a.weight + b.weight, n: a.n + b.n })
    }
  })
  return pools.flatMap((p) => Array.from({ length: p.n }, () => p.sum / p.weight)).map((y, i) => y + offset[i]!)
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** Crossings of lines between neighbouring layers. */
function crossings(rows: readonly number[][], stops: readonly Stop[]): number {
  let n = 0
  for (let level = 0; level + 1 < rows.length; level++) {
    const at = new Map(rows[level + 1]!.map((s, i) => [s, i]))
    const ends = rows[level]!.flatMap((s) => stops[s]!.below.map((b) => at.get(b)!).sort((a, b) => a - b))
    for (let i = 0; i < ends.length; i++) for (let j = i + 1; j < ends.length; j++) if (ends[i]! > ends[j]!) n++
  }
  return n
}

function arrange(rows: number[][], stops: readonly Stop[]): number[][] {
  let best = rows.map((r) => [...r])
  let fewest = crossings(best, stops)
  const now = rows.map((r) => [...r])
  for (let sweep = 0; sweep < 12 && fewest > 0; sweep++) {
    const down = sweep % 2 === 0
    const levels = now.map((_, i) => i)
    if (!down) levels.reverse()
    for (const level of levels) {
      const beside = now[down ? level - 1 : level + 1]
      if (!beside) continue
      const at = new Map(beside.map((s, i) => [s, i]))
      const row = now[level]!
      const key = new Map(row.map((s, i) => {
        const near = (down ? stops[s]!.above : stops[s]!.below).map((n) => at.get(n)!)
        return [s, near.length ? mean(near) : i]
      }))
      now[level] = row.map((s, i) => [s, i] as const).sort((a, b) => key.get(a[0])! - key.get(b[0])! || a[1] - b[1]).map(([s]) => s)
    }
    const n = crossings(now, stops)
    if (n < fewest) [fewest, best] = [n, now.map((r) => [...r])]
  }
  return best
}

/** Lays out a kind; `start` stands on top. States that no transition touches stand there too. */
export function layout(states: readonly GraphState[], transitions: readonly GraphTransition[], start: string): Layout {
  const known = new Set(states.map((s) => s.id))
  const stays = new Map<string, string[]>()
  const edges: { from: string; to: string; names: string[] }[] = []
  for (const t of transitions) {
    for (const from of t.from) {
      // An empty word: it stays where it is.
      const to = t.to || from
      if (!known.has(from) || !known.has(to)) continue
      if (from === to) stays.set(from, [...(stays.get(from) ?? []), t.name])
      else {
        const twin = edges.find((e) => e.from === from && e.to === to)
        if (twin) twin.names.push(t.name)
        else edges.push({ from, to, names: [t.name] })
      }
    }
  }
  const ids = states.map((s) => s.id)
  const { back, rank, order } = layers(ids, start, edges)
  const nameOf = new Map(states.map((s) => [s.id, s.name]))
  const stayText = (id: string) => (stays.get(id) ?? []).map((n) => `↻ ${n}`)
  const stops: Stop[] = []
  const rows: number[][] = []
  const add = (stop: Omit<Stop, 'above' | 'below' | 'x'>) => {
    const i = stops.push({ ...stop, above: [], below: [], x: 0 }) - 1
    ;(rows[stop.level] ??= []).push(i)
    return i
  }
  const box = new Map<string, number>()
  for (const id of order) {
    const width = Math.max(72, textWidth(nameOf.get(id)!) + 28, ...stayText(id).map((s) => textWidth(s) + 20))
    box.set(id, add({ level: 2 * rank.get(id)!, width, line: -1, state: id }))
  }
  const labelStop: number[] = []
  const through: number[][] = []
  edges.forEach((e, line) => {
    const turned = back.has(line)
    const [top, bottom] = turned ? [e.to, e.from] : [e.from, e.to]
    const [a, b] = [2 * rank.get(top)!, 2 * rank.get(bottom)!]
    // The name stands at the end where the step begins.
    const named = turned ? b - 1 : a + 1
    let before = box.get(top)!
    const chain = [before]
    for (let level = a + 1; level <= b; level++) {
      const width = level === named ? Math.max(...e.names.map(textWidth)) + 12 : THROUGH_W
      const here = level === b ? box.get(bottom)! : add({ level, width, line, state: null })
      if (level === named) labelStop[line] = here
      stops[before]!.below.push(here)
      stops[here]!.above.push(before)
      chain.push(here)
      before = here
    }
    through.push(chain)
  })
  for (let i = 0; i < rows.length; i++) rows[i] ??= []
  const placed = arrange(rows, stops)
  const apart = placed.map((row) => row.slice(1).map((s, i) => (stops[row[i]!]!.width + stops[s]!.width) / 2 + GAP_X))
  for (const row of placed) {
    let x = 0
    for (const s of row) {
      stops[s]!.x = x + stops[s]!.width / 2
      x += stops[s]!.width + GAP_X
    }
  }
  // A line that passes by is kept straight before anything else; what stands in its way moves.
  const weights = placed.map((row) => row.map((s) => (stops[s]!.state !== null ? 2 : stops[s]!.width > THROUGH_W ? 1 : 30)))
  for (let sweep = 0; sweep < 60; sweep++) {
    const levels = placed.map((_, i) => i)
    if (sweep % 2) levels.reverse()
    for (const level of levels) {
      const row = placed[level]!
      const wanted = row.map((s) => {
        const near = [...stops[s]!.above, ...stops[s]!.below]
        return near.length ? mean(near.map((n) => stops[n]!.x)) : stops[s]!.x
      })
      spread(wanted, apart[level]!, weights[level]!).forEach((x, i) => (stops[row[i]!]!.x = x))
    }
  }
  const left = Math.min(0, ...stops.map((s) => s.x - s.width / 2))
  for (const s of stops) s.x += PAD - left
  const heights = placed.map((row, level) => {
    if (level % 2 === 0) return STATE_H + TEXT_H * Math.max(0, ...row.map((s) => (stops[s]!.state ? stayText(stops[s]!.state!).length : 0)))
    return TEXT_H * Math.max(1, ...row.map((s) => (labelStop[stops[s]!.line] === s ? edges[stops[s]!.line]!.names.length : 1)))
  })
  const middle: number[] = []
  let y = PAD
  for (const h of heights) {
    middle.push(y + h / 2)
    y += h + GAP_Y
  }
  const boxes = order.map((id): Box => {
    const stop = stops[box.get(id)!]!
    return { id, name: nameOf.get(id)!, x: stop.x, y: middle[stop.level]!, width: stop.width, height: heights[stop.level]! === STATE_H ? STATE_H : STATE_H + TEXT_H * stayText(id).length, stays: stayText(id) }
  })
  const boxOf = new Map(boxes.map((b) => [b.id, b]))
  // Where a line leaves or meets a state: spread over the middle half of its edge, in the order of where they come from.
  const port = (stop: number, toward: number, below: boolean) => {
    const s = stops[stop]!
    const near = [...(below ? s.below : s.above)].sort((a, b) => stops[a]!.x - stops[b]!.x)
    const n = near.length
    return s.x + (n > 1 ? ((near.indexOf(toward) + 0.5) / n - 0.5) * s.width * 0.6 : 0)
  }
  const lines = edges.map((e, line): Line => {
    const chain = through[line]!
    const last = chain.length - 1
    const at = chain.map((s, i): [number, number, number] => {
      const stop = stops[s]!
      if (i === 0) {
        const b = boxOf.get(stop.state!)!
        return [port(s, chain[1]!, true), b.y + b.height / 2, b.y + b.height / 2]
      }
      if (i === last) {
        const b = boxOf.get(stop.state!)!
        return [port(s, chain[last - 1]!, false), b.y - b.height / 2, b.y - b.height / 2]
      }
      const half = heights[stop.level]! / 2
      return [stop.x, middle[stop.level]! - half, middle[stop.level]! + half]
    })
    // Points from top to bottom; a line that goes back is drawn the other way, so that its arrow stands at its end.
    const points = at.flatMap(([x, top, bottom]): [number, number][] => (top === bottom ? [[x, top]] : [[x, top], [x, bottom]]))
    if (back.has(line)) points.reverse()
    const n = (v: number) => Math.round(v * 10) / 10
    const path = points.map(([x, py], i) => {
      const before = points[i - 1]
      if (!before) return `M${n(x)},${n(py)}`
      if (before[0] === x) return `L${n(x)},${n(py)}`
      const half = (before[1] + py) / 2
      return `C${n(before[0])},${n(half)} ${n(x)},${n(half)} ${n(x)},${n(py)}`
    })
    const label = stops[labelStop[line]!]!
    return {
      from: e.from,
      to: e.to,
      path: path.join(''),
      back: back.has(line),
      label: { x: label.x, y: middle[label.level]!, width: label.width, height: TEXT_H * e.names.length, lines: e.names },
    }
  })
  return { width: Math.ceil(Math.max(...stops.map((s) => s.x + s.width / 2), 0) + PAD), height: Math.ceil(y - GAP_Y + PAD), boxes, lines }
}
