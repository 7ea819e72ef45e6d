/* A whole program in C over libgossamer alone: opens the committed file of format version 1, runs it, and compares with
 * the committed outputs (tests/data/packed). Started in the root of the repository. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capi.h"

#define FOLDER "tests/data/packed/version_1"
enum { MOST_PORTS = 2, MOST_BATCH = 3 };

static int fail(const char* what) {
  fprintf(stderr, "FAILED %s: %s\n", what, gsm_last_error());
  return 1;
}

/* The float32 values of a .npy file of version 1.0, C order; NULL where it is another file. */
static float* read_npy(const char* path, size_t count) {
  unsigned char head[10];
  float* values = NULL;
  FILE* file = fopen(path, "rb");
  if (file == NULL) return NULL;
  if (fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, "\x93NUMPY\x01\x00", 8) == 0 &&
      fseek(file, (long)sizeof head + head[8] + 256 * head[9], SEEK_SET) == 0 &&
      (values = malloc(count * sizeof(float))) != NULL && fread(values, sizeof(float), count, file) != count) {
    free(values);
    values = NULL;
  }
  fclose(file);
  return values;
}

static size_t elements(const int64_t* shape, size_t rank) {
  size_t count = 1;
  for (size_t i = 0; i < rank; ++i) count *= (size_t)shape[i];
  return count;
}

int main(void) {
  gsm_file* file = NULL;
  gsm_session* session = NULL;
  const void* inputs[MOST_PORTS];
  float* outputs[MOST_PORTS];
  int64_t shape[GSM_MAX_RANK], least = 0, most = 0;
  size_t rank = 0, compared = 0;

  if (gsm_abi() != GSM_ABI) return fail("this header is of another library");
  if (gsm_open(FOLDER ".no", &file) != GSM_IO || file != NULL) return fail("a missing file is no GSM_IO");
  if (gsm_open(FOLDER ".safetensors", &file) != GSM_OK) return fail("gsm_open");
  if (gsm_plan(file, 1, 0, NULL, 0, &session) != GSM_OK) return fail("gsm_plan");
  gsm_close(file);
  if (gsm_batch_range(session, &least, &most) != GSM_OK || least > MOST_BATCH || most < MOST_BATCH)
    return fail("gsm_batch_range");
  if (gsm_num_inputs(session) != 1 || gsm_num_outputs(session) > MOST_PORTS) return fail("ports");

  if (gsm_input_shape(session, 0, MOST_BATCH, 0, shape, &rank) != GSM_OK) return fail("gsm_input_shape");
  inputs[0] = read_npy(FOLDER "_input.npy", elements(shape, rank));
  if (inputs[0] == NULL) return fail("the committed input");
  for (size_t i = 0; i < gsm_num_outputs(session); ++i) {
    if (gsm_output_shape(session, i, MOST_BATCH, 0, shape, &rank) != GSM_OK) return fail("gsm_output_shape");
    outputs[i] = malloc(elements(shape, rank) * sizeof(float));
    if (outputs[i] == NULL) return fail("malloc");
  }
  if (gsm_run(session, MOST_BATCH, 0, inputs, outputs) != GSM_OK) return fail("gsm_run");
  for (size_t i = 0; i < gsm_num_outputs(session); ++i) {
    char path[256];
    float* expected;
    gsm_output_shape(session, i, MOST_BATCH, 0, shape, &rank);
    snprintf(path, sizeof path, FOLDER "_%s.npy", gsm_output_name(session, i));
    expected = read_npy(path, elements(shape, rank));
    if (expected == NULL) return fail(path);
    for (size_t k = 0; k < elements(shape, rank); ++k, ++compared) {
      const double difference = (double)outputs[i][k] - (double)expected[k];
      if (!(difference < 1e-5 && difference > -1e-5)) return fail(path);
    }
    free(expected);
    free(outputs[i]);
  }
  if (gsm_output_name(session, MOST_PORTS) != NULL || gsm_input_name(session, 1) != NULL) return fail("names");
  if (gsm_run(session, most + 1, 0, inputs, outputs) != GSM_ARGUMENT) return fail("too large a batch");
  printf("ok: input '%s', version %s, %u values compared\n", gsm_input_name(session, 0), gsm_version(),
         (unsigned)compared);
  free((void*)(uintptr_t)inputs[0]);
  gsm_free(session);
  return 0;
}
