// Whether this browser can draw the map at all.
let answer: boolean | null = null
export function hasWebGl2(): boolean {
  if (answer === null) {
    const context = document.createElement('canvas').getContext('webgl2')
    answer = context !== null
    // Browsers allow few contexts at a time; give this one back.
    context?.getExtension('WEBGL_lose_context')?.loseContext()
  }
  return answer
}
