import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Node 20 knows no decorators: they are compiled to what it knows.
  esbuild: { target: 'es2022' },
  test: { include: ['test/**/*.test.ts'] },
});
