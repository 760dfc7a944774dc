/** What the module asks of its host: TinyGo's build asks nothing. */
export const imports = () => ({});
