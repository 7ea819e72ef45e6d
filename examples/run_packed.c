/* Runs a packed network of one float32 input and one output without Python: raw float32 values from a file to a file.
 *
 *   cmake -S . -B build/c -DGOSSAMER_PYTHON=OFF && cmake --build build/c --target gossamer
 *   cc examples/run_packed.c -I native -L build/c -lgossamer -Wl,-rpath,$PWD/build/c -o run_packed
 *   ./run_packed model.safetensors input.f32 output.f32 [threads]
 * As many examples as the input file holds are one batch. */
#include <stdio.h>
#include <stdlib.h>

#include "capi.h"

static int fail(const char* what) {
  const char* why = gsm_last_error();
  fprintf(stderr, "%s%s%s\n", what, *why ? ": " : "", why);
  return 1;
}

static size_t elements(const int64_t* shape, size_t rank) {
  size_t count = 1;
  for (size_t i = 0; i < rank; ++i) count *= (size_t)shape[i];
  return count;
}

int main(int argc, char** argv) {
  gsm_file* file = NULL;
  gsm_session* session = NULL;
  int64_t shape[GSM_MAX_RANK], least, most, length, batch = 1;
  size_t rank, count;
  char* end = NULL;

  if (argc < 4) return fail("usage: run_packed MODEL INPUT OUTPUT [THREADS]");
  const long threads = argc > 4 ? strtol(argv[4], &end, 10) : 1;
  if ((end != NULL && *end != '\0') || threads < 1 || threads != (int)threads)
    return fail("THREADS: expected a whole number from 1 on");
  if (gsm_abi() != GSM_ABI) return fail("capi.h and libgossamer are of different versions");
  if (gsm_open(argv[1], &file) != GSM_OK) return fail(argv[1]);
  if (gsm_plan(file, (int)threads, 0, NULL, 0, &session) != GSM_OK) return fail("plan");
  gsm_close(file); /* the session keeps what it needs */
  if (gsm_num_inputs(session) != 1 || gsm_num_outputs(session) != 1) return fail("expected one input and one output");
  if (gsm_input_dtype(session, 0) != GSM_FLOAT32) return fail("expected an input of float32");

  /* How many examples are in the file? */
  FILE* in = fopen(argv[2], "rb");
  if (in == NULL || fseek(in, 0, SEEK_END) != 0) return fail("cannot read the input file");
  const size_t given = (size_t)ftell(in);
  rewind(in);
  if (gsm_length_range(session, &least, &length) != GSM_OK) return fail("length range"); /* the largest is run */
  if (gsm_batch_range(session, &least, &most) != GSM_OK) return fail("batch range");
  if (gsm_input_shape(session, 0, least, length, shape, &rank) != GSM_OK) return fail("input shape");
  const size_t each = elements(shape, rank) * sizeof(float) / (size_t)(most > 0 ? least : 1); /* bytes */
  if (most > 0) batch = (int64_t)(given / each);
  if (given == 0 || given != each * (size_t)batch) {
    fprintf(stderr, "%s: expected %s%zu bytes, got %zu\n", argv[2], most > 0 ? "a multiple of " : "", each, given);
    return 1;
  }
  if (gsm_input_shape(session, 0, batch, length, shape, &rank) != GSM_OK) return fail("the input file");
  float* input = malloc(given);
  if (input == NULL || fread(input, 1, given, in) != given) return fail("cannot read the input file");
  fclose(in);
  if (gsm_output_shape(session, 0, batch, length, shape, &rank) != GSM_OK) return fail("output shape");
  count = elements(shape, rank);
  float* output = malloc(count * sizeof(float));
  if (output == NULL) return fail("no memory for the output");
  const void* inputs[] = {input};
  float* outputs[] = {output};
  if (gsm_run(session, batch, length, inputs, outputs) != GSM_OK) return fail("run"); /* as often as you like */
  FILE* out = fopen(argv[3], "wb");
  if (out == NULL || fwrite(output, sizeof(float), count, out) != count || fclose(out) != 0)
    return fail("cannot write the output file");
  printf("%s: batch %d, %u values of '%s'\n", argv[1], (int)batch, (unsigned)count, gsm_output_name(session, 0));
  free(input);
  free(output);
  gsm_free(session);
  return 0;
}
